"""Jobs as they are accepted: many in one statement, and many requests in one transaction."""

import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import pytest
from sqlalchemy import Engine, event, select
from sqlalchemy.orm import Session, sessionmaker

from store.db.errors import DatasetUnavailable
from store.db.models import Dataset, Job, Transition
from store.jobs import commands, creation
from store.jobs.creation import NewJob, Submission
from store.jobs.intake import Intake
from tests.support.factories import (
    cancel_registration,
    find_digits,
    make_cells,
    make_dataset,
    make_spec,
    make_user,
)
from tests.support.waiting import PATIENCE_SECONDS, wait_for

Sessions = sessionmaker[Session]


def make_submissions(session: Session, *seeds: int) -> list[Submission]:
    owner, digits = make_user(session, "ada"), find_digits(session)
    return [
        Submission(owner, "cats", digits, NewJob(make_spec(seed=seed), f"seed {seed}"))
        for seed in seeds
    ]


def test_many_jobs_are_numbered_as_they_were_given(sessions: Sessions) -> None:
    seeds = [7, 3, 11, 5]
    with sessions.begin() as session:
        jobs = creation.accept(session, make_submissions(session, *seeds))
        assert [job.seed for job in jobs] == seeds
        assert [job.id for job in jobs] == sorted(job.id for job in jobs)
        assert [job.name for job in jobs] == [f"seed {seed}" for seed in seeds]


def test_each_new_job_has_a_first_transition_by_its_owner(sessions: Sessions) -> None:
    with sessions.begin() as session:
        [job] = creation.accept(session, make_submissions(session, 0))
        [first] = session.scalars(select(Transition).where(Transition.job_id == job.id))
    assert (first.who, first.from_status, first.to_status, first.why) == (
        "ada", None, "queued", "submitted",
    )  # fmt: skip
    assert (job.owner.name, job.project and job.project.name) == ("ada", "cats")


def test_what_a_job_lacks_is_null_in_sql(sessions: Sessions) -> None:
    with sessions.begin() as session:
        [job] = creation.accept(session, make_submissions(session, 0))
        statement = select(Job.id).where(
            Job.trial.is_(None), Job.variant.is_(None), Job.study_id.is_(None)
        )
        assert session.scalars(statement).all() == [job.id]


def test_numbers_of_a_spec_stay_as_they_were(sessions: Sessions) -> None:
    cells = make_cells(("batch",), (0,), optimizer={"kind": "sgd", "lr": 1e-05})
    with sessions.begin() as session:
        owner, digits = make_user(session, "ada"), find_digits(session)
        [job] = commands.create(session, owner, "cats", digits, cells)
        session.expire(job)
        assert job.spec == cells[0].spec.model_dump(mode="json")


def test_submissions_at_one_moment_share_a_transaction(engine: Engine, sessions: Sessions) -> None:
    with sessions.begin() as session:
        submissions = make_submissions(session, *range(6))
    intake, commits = Intake(sessions), list[object]()
    note = commits.append
    digits = select(Dataset.id).where(Dataset.id == submissions[0].dataset.id)
    event.listen(engine, "commit", note)
    try:
        with ThreadPoolExecutor(6) as pool:
            with sessions.begin() as session:
                session.execute(digits.with_for_update())
                # The first finds its dataset locked, and the others come while it waits.
                first = pool.submit(intake.accept, submissions[0])
                wait_for(lambda: intake.is_busy and not intake.waiting, "the first waits")
                others = [pool.submit(intake.accept, one) for one in submissions[1:]]
                wait_for(lambda: intake.waiting == len(others), "the others wait")
            jobs = [future.result() for future in (first, *others)]
    finally:
        event.remove(engine, "commit", note)
    assert [job.seed for job in jobs] == list(range(6))
    # That of the lock, of the first, and of the other five.
    assert len(commits) == 3


def test_a_job_that_is_committed_waits_for_no_later_transaction(sessions: Sessions) -> None:
    with sessions.begin() as session:
        submissions = make_submissions(session, *range(4))
    intake, gates = Intake(sessions), [threading.Event() for _ in range(3)]
    # Transactions of the first, of the second and third, and of the fourth: each held up at its gate.
    held = [
        replace(submission, remember=lambda _session, _job, gate=gate: gate.wait())
        for submission, gate in zip(
            submissions, (gates[0], gates[1], gates[1], gates[2]), strict=True
        )
    ]
    with ThreadPoolExecutor(4) as pool:
        try:
            first = pool.submit(intake.accept, held[0])
            wait_for(lambda: intake.is_busy and not intake.waiting, "the first is under way")
            together = [pool.submit(intake.accept, one) for one in held[1:3]]
            wait_for(lambda: intake.waiting == 2, "two wait")
            gates[0].set()
            assert first.result(PATIENCE_SECONDS).seed == 0
            wait_for(lambda: not intake.waiting, "the two are under way")
            last = pool.submit(intake.accept, held[3])
            wait_for(lambda: intake.waiting == 1, "the last waits")
            gates[1].set()
            assert {future.result(PATIENCE_SECONDS).seed for future in together} == {1, 2}
            assert not last.done()
        finally:
            for gate in gates:
                gate.set()
        assert last.result(PATIENCE_SECONDS).seed == 3


def test_one_that_is_refused_refuses_no_other(sessions: Sessions) -> None:
    with sessions.begin() as session:
        cats = make_dataset(session, "cats", ready=False)
        good, other = make_submissions(session, 0, 1)
        cancel_registration(session, cats)
        spec = make_spec(dataset={"name": "cats"})
        bad = Submission(good.owner, "cats", cats, NewJob(spec, "on nothing"))
    intake, ready = Intake(sessions), threading.Barrier(3)

    def accept(submission: Submission) -> Job:
        ready.wait()
        return intake.accept(submission)

    with ThreadPoolExecutor(3) as pool:
        first, refused, last = (pool.submit(accept, one) for one in (good, bad, other))
        with pytest.raises(DatasetUnavailable):
            refused.result()
        assert [first.result().seed, last.result().seed] == [0, 1]
    with sessions.begin() as session:
        trainings = select(Job.name).where(Job.kind == "training").order_by(Job.seed)
        assert session.scalars(trainings).all() == ["seed 0", "seed 1"]


def test_jobs_on_other_datasets_do_not_wait_for_one_that_is_locked(sessions: Sessions) -> None:
    with sessions.begin() as session:
        [on_digits] = make_submissions(session, 0)
        cats = make_dataset(session, "cats")
        spec = make_spec(dataset={"name": "cats"})
        on_cats = Submission(on_digits.owner, "cats", cats, NewJob(spec, "on cats"))
    intake = Intake(sessions)
    digits = select(Dataset.id).where(Dataset.id == on_digits.dataset.id)
    with ThreadPoolExecutor(2) as pool:
        with sessions.begin() as session:
            session.execute(digits.with_for_update())
            first = pool.submit(intake.accept, on_digits)
            wait_for(lambda: intake.is_busy and not intake.waiting, "the first waits")
            # Less than the time after which the first would give up its lock, and be refused.
            assert pool.submit(intake.accept, on_cats).result(timeout=10).name == "on cats"
            assert not first.done()
        assert first.result().name == "seed 0"


def test_a_new_project_is_that_of_the_first_who_named_it(sessions: Sessions) -> None:
    with sessions.begin() as session:
        [first] = make_submissions(session, 0)
        second = replace(first, owner=make_user(session, "bob"))
    with sessions.begin() as session:
        projects = [job.project for job in creation.accept(session, [first, second])]
        owners = [project.owner_id for project in projects if project is not None]
    assert owners == [first.owner.id, first.owner.id]
