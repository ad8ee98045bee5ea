"""Studies that pretrain: the arms of a seed are made in the transaction that closes its pretraining."""

from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

import pytest
from sqlalchemy.orm import Session, sessionmaker

from store.db.models import Job, Study
from store.jobs import commands
from store.jobs.acquire import Assignment
from store.studies import studies, tallies
from studies.comparison.compare import read_comparison
from tests.support.factories import make_worker
from tests.support.following_jobs import (
    acquire_all,
    create_study,
    end_two_at_once,
    end_without_hearing,
)
from tests.support.result_rows import make_study
from trainer.events import CheckpointSaved, Finished
from worker.execution.failures import Failure
from worker.execution.outcome import record_outcome

Sessions = sessionmaker[Session]
FIELDS: dict[str, Any] = {
    "variants": {
        "batch": {},
        "frozen": {"norm": {"frozen": "all"}},
        "scratch": {"init_from": None},
    },
    "base": {
        "dataset": {"name": "digits"},
        "model": {"name": "mlp", "hidden": [8]},
        "norm": {"kind": "batch"},
    },
    "pretrain": {"training": {"epochs": 2}},
}


@pytest.fixture
def make(sessions: Sessions) -> Callable[..., int]:
    """Submits a study of three arms; on a host of many slots."""
    with sessions.begin() as session:
        make_worker(session, cpu=64)

    def submit(**fields: Any) -> int:
        with sessions.begin() as session:
            return create_study(session, make_study(**{**FIELDS, **fields})).id

    return submit


def digest_of(job_id: int) -> str:
    return f"{job_id:032x}"


def end(
    session: Session,
    assignment: Assignment,
    reason: Literal["completed", "diverged"] = "completed",
    *,
    has_weights: bool = True,
) -> None:
    """As its worker would."""
    job = session.get_one(Job, assignment.job_id)
    if has_weights:
        path = str(Path("jobs") / str(job.id) / "best.pt")
        saved = CheckpointSaved("best", 1, 1, path, digest_of(job.id), 1)
        commands.record_checkpoint(session, job.id, job.attempt, saved)
    accuracy = 0.8 + 0.1 * (job.variant == "frozen") + 0.001 * job.seed
    metrics = {"best_val_accuracy": accuracy, "test_accuracy": accuracy}
    record_outcome(session, assignment, Finished(reason, metrics), 1.0)


def end_all(sessions: Sessions, assignments: list[Assignment]) -> None:
    for assignment in assignments:
        with sessions.begin() as session:
            end(session, assignment)


def find_study(session: Session, study_id: int) -> Study:
    study = studies.find(session, study_id)
    assert study is not None
    return study


def count_jobs(session: Session, study_id: int) -> Counter[str | None]:
    jobs = studies.jobs_of(session, study_id)
    assert len({(job.variant, job.seed) for job in jobs}) == len(jobs)
    return Counter(job.variant for job in jobs)


def test_the_end_of_a_pretraining_makes_the_arms_of_its_seed_in_its_transaction(
    sessions: Sessions, make: Callable[..., int]
) -> None:
    study_id = make(seeds=2)
    first, second = acquire_all(sessions)
    with sessions.begin() as session:
        assert count_jobs(session, study_id) == {"pretraining": 2}
    # Killed before the commit.
    with sessions.begin() as session:
        end(session, first)
        assert count_jobs(session, study_id) == {
            "pretraining": 2, "batch": 1, "frozen": 1, "scratch": 1,
        }  # fmt: skip
        session.rollback()
    with sessions.begin() as session:
        assert count_jobs(session, study_id) == {"pretraining": 2}
    with sessions.begin() as session:
        end(session, first)
    with sessions.begin() as session:
        study = find_study(session, study_id)
        new = {job.variant: job for job in studies.jobs_of(session, study_id)[2:]}
        assert {(job.seed, job.status, job.trial) for job in new.values()} == {(0, "queued", None)}
        # They keep the study's place in line.
        assert {job.queued_at for job in new.values()} == {study.created_at}
        begun = {"job": first.job_id, "checkpoint": "best", "reset_head": False, "digest": digest_of(first.job_id)}  # fmt: skip
        assert new["batch"].spec["init_from"] == new["frozen"].spec["init_from"] == begun
        assert "init_from" not in new["scratch"].spec
        counts = tallies.count_jobs(session, [study_id])[study_id].counts
        assert tallies.status_of(counts) == "running"
    end_all(sessions, [second, *acquire_all(sessions)])
    end_all(sessions, acquire_all(sessions))
    with sessions.begin() as session:
        counts = tallies.count_jobs(session, [study_id])[study_id].counts
        assert (counts["succeeded"], tallies.status_of(counts)) == (8, "succeeded")


def test_the_comparison_is_of_the_arms_alone_and_says_what_they_began_from(
    sessions: Sessions, make: Callable[..., int]
) -> None:
    study_id = make(seeds=8)
    end_all(sessions, acquire_all(sessions))
    end_all(sessions, acquire_all(sessions))
    with sessions.begin() as session:
        compared = read_comparison(session, find_study(session, study_id))
    assert {one.name for one in compared.variants} == {"batch", "frozen", "scratch"}
    assert compared.verdict.state == "decided"
    [note] = [one for one in compared.notes if "one pretraining" in one]
    assert note.startswith(
        "at each seed batch and frozen started from the weights of one pretraining (j"
    )
    assert " to j" in note


def test_two_pretrainings_that_end_at_once_each_make_their_own(
    sessions: Sessions, make: Callable[..., int]
) -> None:
    study_id = make(seeds=3)
    end_two_at_once(sessions, acquire_all(sessions), end)
    with sessions.begin() as session:
        assert count_jobs(session, study_id) == dict.fromkeys(
            ("pretraining", "batch", "frozen", "scratch"), 3
        )


@pytest.mark.parametrize(("action", "status"), [("cancel", "cancelled"), ("pause", "paused")])
def test_a_request_that_a_pretraining_did_not_hear_meets_its_arms(
    sessions: Sessions,
    make: Callable[..., int],
    action: Literal["cancel", "pause"],
    status: str,
) -> None:
    study_id = make(seeds=1)
    end_without_hearing(sessions, acquire_all(sessions), action, end)
    with sessions.begin() as session:
        assert [job.status for job in studies.jobs_of(session, study_id)[1:]] == [status] * 3


def test_nothing_follows_from_one_that_failed_until_it_is_retried(
    sessions: Sessions, make: Callable[..., int]
) -> None:
    study_id = make(seeds=8)
    failed, *others = acquire_all(sessions)
    with sessions.begin() as session:
        record_outcome(session, failed, Failure("disk", "it is full", final=True), 1.0)
    end_all(sessions, others)
    end_all(sessions, acquire_all(sessions))
    with sessions.begin() as session:
        counts = tallies.count_jobs(session, [study_id])[study_id].counts
        assert (tallies.status_of(counts), counts["queued"]) == ("partial", 0)
        compared = read_comparison(session, find_study(session, study_id))
        assert compared.verdict.state == "withheld"
        [reason] = compared.verdict.reasons
        assert reason.startswith(
            "no arm has a job at seed 0: they are created once the pretraining"
        )
        assert f"1 failed (j{failed.job_id})" in reason
        commands.retry(session, session.get_one(Job, failed.job_id), "ada")
    end_all(sessions, acquire_all(sessions))
    end_all(sessions, acquire_all(sessions))
    with sessions.begin() as session:
        assert set(count_jobs(session, study_id).values()) == {8}
        compared = read_comparison(session, find_study(session, study_id))
        assert compared.verdict.state == "decided"


def test_what_begins_from_one_that_diverged_has_its_best_weights(
    sessions: Sessions, make: Callable[..., int]
) -> None:
    study_id = make(seeds=1)
    [assignment] = acquire_all(sessions)
    with sessions.begin() as session:
        end(session, assignment, "diverged")
    with sessions.begin() as session:
        assert len(studies.jobs_of(session, study_id)) == 4
        compared = read_comparison(session, find_study(session, study_id))
    assert any("the pretraining diverged at seed 0" in note for note in compared.notes)


def test_nothing_follows_from_one_without_weights_and_the_study_says_so(
    sessions: Sessions, make: Callable[..., int]
) -> None:
    study_id = make(seeds=1)
    [assignment] = acquire_all(sessions)
    with sessions.begin() as session:
        end(session, assignment, "diverged", has_weights=False)
    with sessions.begin() as session:
        assert len(studies.jobs_of(session, study_id)) == 1
        [warning] = find_study(session, study_id).warnings
        assert warning == (
            f"no arm has a job at seed 0: job {assignment.job_id} has no best checkpoint"
        )


def test_arms_whose_data_are_gone_keep_no_pretraining_from_ending(
    sessions: Sessions, make: Callable[..., int]
) -> None:
    base = {**FIELDS["base"], "dataset": {"name": "gone"}}
    study_id = make(seeds=1, base=base, pretrain={"dataset": {"name": "digits"}})
    [assignment] = acquire_all(sessions)
    with sessions.begin() as session:
        end(session, assignment)
    with sessions.begin() as session:
        [job] = studies.jobs_of(session, study_id)
        assert job.status == "succeeded"
        [warning] = find_study(session, study_id).warnings
        assert "not registered: gone" in warning
