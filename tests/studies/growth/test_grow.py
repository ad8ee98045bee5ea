"""Studies that grow until they are decided: the next look is made in the transaction that closes the one before."""

import itertools
import random
from collections import Counter
from collections.abc import Callable
from typing import Any, Literal

import pytest
from sqlalchemy.orm import Session, sessionmaker

from store.db.models import Job, Study
from store.jobs import commands, limits
from store.jobs.acquire import Assignment
from store.studies import studies, tallies
from studies.claims.judge import read_claims
from studies.comparison.compare import read_comparison
from studies.growth import grow
from studies.tuning.select import chosen_settings
from tests.support.factories import make_worker
from tests.support.following_jobs import (
    acquire_all,
    create_study,
    end_two_at_once,
    end_without_hearing,
)
from tests.support.result_rows import make_study
from trainer.events import Finished
from worker.execution.failures import Failure
from worker.execution.outcome import record_outcome

Sessions = sessionmaker[Session]
BASE = {
    "dataset": {"name": "digits"},
    "model": {"name": "mlp", "hidden": [8]},
    "optimizer": {"kind": "sgd"},
}


@pytest.fixture
def make(sessions: Sessions) -> Callable[..., int]:
    """Submits a study of two variants; on a host of many slots."""
    with sessions.begin() as session:
        make_worker(session, cpu=64)
    numbers = itertools.count()

    def submit(**fields: Any) -> int:
        study = make_study(**{"base": BASE, "seeds": "until decided, at most 24", **fields})
        with sessions.begin() as session:
            return create_study(session, study, f"user-{next(numbers)}").id

    return submit


def end(session: Session, assignment: Assignment, gain: float = 0.0) -> None:
    """As its worker would; `gain`: by how much all variants but the first are better."""
    job = session.get_one(Job, assignment.job_id)
    draw = random.Random(f"{job.variant} {job.seed}")
    accuracy = 0.9 + draw.gauss(0.0, 0.01)
    if job.variant != "none":
        accuracy += gain
    metrics = {"best_val_accuracy": accuracy, "test_accuracy": accuracy}
    record_outcome(session, assignment, Finished("completed", metrics), 1.0)


def run_to_the_end(sessions: Sessions, gain: float, order: int = 0) -> None:
    shuffle = random.Random(order).shuffle
    while assignments := acquire_all(sessions):
        shuffle(assignments)
        for assignment in assignments:
            with sessions.begin() as session:
                end(session, assignment, gain)


def find_study(session: Session, study_id: int) -> Study:
    study = studies.find(session, study_id)
    assert study is not None
    return study


def count_cells(session: Session, study_id: int) -> Counter[str | None]:
    jobs = [job for job in studies.jobs_of(session, study_id) if job.trial is None]
    assert len({(job.variant, job.seed) for job in jobs}) == len(jobs)
    return Counter(job.variant for job in jobs)


def test_a_large_difference_stops_the_study_at_its_first_look(
    sessions: Sessions, make: Callable[..., int]
) -> None:
    study_id = make()
    run_to_the_end(sessions, 0.5)
    with sessions.begin() as session:
        assert count_cells(session, study_id) == {"none": 8, "group": 8}
        study = find_study(session, study_id)
        assert study.spec["seeds"] == 8
        compared = read_comparison(session, study)
    assert (compared.verdict.state, compared.plan.look) == ("decided", 1)
    difference = compared.variants[1].difference
    assert difference is not None
    assert difference.decision == "better"
    assert difference.interval is not None
    assert difference.repeated_interval is not None
    # Wider, since it holds at whatever look the study stops.
    assert difference.repeated_interval[0] < difference.interval[0]
    assert "repeated interval" in compared.verdict.sentence
    assert any("stops at the look at which every comparison" in note for note in compared.notes)


def test_no_difference_goes_on_to_the_most_seeds(
    sessions: Sessions, make: Callable[..., int]
) -> None:
    study_id = make()
    run_to_the_end(sessions, 0.0)
    with sessions.begin() as session:
        assert count_cells(session, study_id) == {"none": 24, "group": 24}
        study = find_study(session, study_id)
        assert (study.spec["seeds"], study.planned_seeds) == (24, list(range(8)))
        compared = read_comparison(session, study)
        assert (compared.verdict.state, compared.plan.look) == ("undecided", 3)
        grow(session, study_id)
        assert count_cells(session, study_id) == {"none": 24, "group": 24}


def test_equal_variants_stop_once_they_are_known_to_be(
    sessions: Sessions, make: Callable[..., int]
) -> None:
    study_id = make(margin=0.05)
    run_to_the_end(sessions, 0.0)
    with sessions.begin() as session:
        assert count_cells(session, study_id) == {"none": 8, "group": 8}
        [_, group] = read_comparison(session, find_study(session, study_id)).variants
    assert group.difference is not None
    assert group.difference.decision == "equivalent"


def test_one_undecided_comparison_keeps_all_arms_going(
    sessions: Sessions, make: Callable[..., int]
) -> None:
    study_id = make(variants=("none", "group", "layer"))

    while assignments := acquire_all(sessions):
        for assignment in assignments:
            with sessions.begin() as session:
                is_group = assignment.spec["norm"]["kind"] == "group"
                end(session, assignment, 0.5 if is_group else 0.0)
    with sessions.begin() as session:
        assert count_cells(session, study_id) == {"none": 24, "group": 24, "layer": 24}
        compared = read_comparison(session, find_study(session, study_id))
        decisions = {
            one.name: one.difference.decision for one in compared.variants if one.difference
        }
        assert decisions == {"group": "better", "layer": "undecided"}


def test_the_last_job_of_a_look_makes_the_next_one_in_its_transaction(
    sessions: Sessions, make: Callable[..., int]
) -> None:
    study_id = make()
    *first, last = acquire_all(sessions)
    assert len(first) == 15
    for assignment in first:
        with sessions.begin() as session:
            end(session, assignment)
            assert len(studies.jobs_of(session, study_id)) == 16
    # Killed before the commit.
    with sessions.begin() as session:
        end(session, last)
        assert len(studies.jobs_of(session, study_id)) == 32
        session.rollback()
    with sessions.begin() as session:
        assert len(studies.jobs_of(session, study_id)) == 16
        assert find_study(session, study_id).spec["seeds"] == 8
    with sessions.begin() as session:
        end(session, last)
    with sessions.begin() as session:
        study = find_study(session, study_id)
        assert study.spec["seeds"] == 16
        new = studies.jobs_of(session, study_id)[16:]
        assert {job.status for job in new} == {"queued"}
        assert {job.seed for job in new} == set(range(8, 16))
        # It keeps its place in line.
        assert {job.queued_at for job in new} == {study.created_at}
        assert not any(job.may_reuse for job in new)
        counts = tallies.count_jobs(session, [study_id])[study_id].counts
        assert tallies.status_of(counts) == "running"


def test_two_jobs_that_end_at_once_make_one_look(
    sessions: Sessions, make: Callable[..., int]
) -> None:
    study_id = make()
    end_two_at_once(sessions, acquire_all(sessions), end)
    with sessions.begin() as session:
        assert count_cells(session, study_id) == {"none": 16, "group": 16}


def test_whichever_jobs_end_first_the_study_is_the_same(
    sessions: Sessions, make: Callable[..., int]
) -> None:
    made = []
    for order in range(3):
        study_id = make()
        run_to_the_end(sessions, 0.01, order)
        with sessions.begin() as session:
            made.append(count_cells(session, study_id))
    assert made[0] == made[1] == made[2]


@pytest.mark.parametrize(
    ("action", "status", "go_on"),
    [("cancel", "cancelled", commands.retry), ("pause", "paused", commands.resume)],
)
def test_a_request_that_the_last_job_of_a_look_did_not_hear_meets_the_next_look(
    sessions: Sessions,
    make: Callable[..., int],
    action: Literal["cancel", "pause"],
    status: str,
    go_on: Callable[[Session, Job, str], None],
) -> None:
    study_id = make()
    end_without_hearing(sessions, acquire_all(sessions), action, end)
    with sessions.begin() as session:
        new = studies.jobs_of(session, study_id)[16:]
        assert [job.status for job in new] == [status] * 16
        for job in new:
            go_on(session, job, "ada")
    run_to_the_end(sessions, 0.0)
    with sessions.begin() as session:
        assert count_cells(session, study_id) == {"none": 24, "group": 24}


def test_a_look_with_a_failed_job_waits_until_it_is_retried(
    sessions: Sessions, make: Callable[..., int]
) -> None:
    study_id = make()
    failed, *others = acquire_all(sessions)
    for assignment in others:
        with sessions.begin() as session:
            end(session, assignment)
    with sessions.begin() as session:
        record_outcome(session, failed, Failure("disk", "it is full", final=True), 1.0)
        assert len(studies.jobs_of(session, study_id)) == 16
        commands.retry(session, session.get_one(Job, failed.job_id), "ada")
    run_to_the_end(sessions, 0.0)
    with sessions.begin() as session:
        assert count_cells(session, study_id) == {"none": 24, "group": 24}


def test_a_job_without_a_value_lets_nothing_follow(
    sessions: Sessions, make: Callable[..., int]
) -> None:
    study_id = make()
    unmeasured, *others = acquire_all(sessions)
    for assignment in others:
        with sessions.begin() as session:
            end(session, assignment)
    with sessions.begin() as session:
        record_outcome(session, unmeasured, Finished("completed", {}), 1.0)
    with sessions.begin() as session:
        assert len(studies.jobs_of(session, study_id)) == 16


def test_a_study_with_claims_grows_until_each_of_them_is_decided(
    sessions: Sessions, make: Callable[..., int]
) -> None:
    # Of the comparisons, that of layer is decided at once.
    claims = [{"name": "c", "says": "c", "statistic": "test_accuracy", "rising": ["none", "group"]}]
    variants = ("none", "group", "layer")
    decided, open_ = make(variants=variants, claims=claims), make(variants=variants, claims=claims)
    while assignments := acquire_all(sessions):
        for assignment in assignments:
            with sessions.begin() as session:
                job = session.get_one(Job, assignment.job_id)
                better = {"group"} if job.study_id == decided else {"layer"}
                end(session, assignment, 0.5 if job.variant in better else 0.0)
    with sessions.begin() as session:
        assert count_cells(session, decided) == dict.fromkeys(variants, 8)
        assert count_cells(session, open_) == dict.fromkeys(variants, 24)
        [verdict] = read_claims(session, find_study(session, decided))
        assert (verdict.verdict, verdict.n) == ("holds", 8)
        [verdict] = read_claims(session, find_study(session, open_))
        assert (verdict.verdict, verdict.n) == ("undecided", 24)


def test_a_limit_of_waiting_jobs_holds_back_no_look_of_a_study_that_was_accepted(
    sessions: Sessions, make: Callable[..., int]
) -> None:
    study_id = make()
    with sessions.begin() as session:
        limits.change(session, find_study(session, study_id).owner, {"queued": 1})
    run_to_the_end(sessions, 0.0)
    with sessions.begin() as session:
        assert count_cells(session, study_id) == {"none": 24, "group": 24}


def test_a_tuned_study_grows_with_the_settings_that_were_chosen(
    sessions: Sessions, make: Callable[..., int]
) -> None:
    study_id = make(tune={"optimizer.lr": [0.1, 0.2], "seeds": [100]})
    run_to_the_end(sessions, 0.0)
    with sessions.begin() as session:
        assert count_cells(session, study_id) == {"none": 24, "group": 24}
        chosen = chosen_settings(find_study(session, study_id))
        for job in studies.jobs_of(session, study_id):
            if job.trial is None:
                rate = job.spec["optimizer"]["lr"]
                assert rate == chosen[str(job.variant)]["optimizer.lr"]


def test_other_studies_with_looks_wait_for_their_people(
    sessions: Sessions, make: Callable[..., int]
) -> None:
    study_id = make(seeds=8, looks=[8, 16])
    run_to_the_end(sessions, 0.0)
    with sessions.begin() as session:
        assert count_cells(session, study_id) == {"none": 8, "group": 8}
