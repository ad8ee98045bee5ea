"""Jobs that an equal one must not answer, because they have records of their own, and answers that fail."""

from typing import Any, Literal

import pytest
from sqlalchemy.orm import Session, sessionmaker

from store.db.models import Epoch, Job
from store.jobs import commands
from store.jobs.acquire import Assignment, Settled
from tests.support.factories import (
    acquire_job,
    choose_numerics,
    finish_training,
    make_job,
    make_worker,
    set_job,
)
from trainer.events import EpochFinished

Sessions = sessionmaker[Session]
End = Literal["retried", "resumed", "preempted", "lost"]


@pytest.fixture
def worker(sessions: Sessions) -> Sessions:
    """The store with a host of two slots."""
    with sessions.begin() as session:
        make_worker(session, cpu=2)
    return sessions


def submit(sessions: Sessions, **parts: Any) -> Job:
    with sessions.begin() as session:
        return make_job(session, **parts)


def start(sessions: Sessions) -> Assignment:
    """The next job, which records its first epoch."""
    with sessions.begin() as session:
        job = acquire_job(session)
        assert job is not None
        epoch = EpochFinished(1, 23, {"train_loss": 0.5}, True, 0.1)
        commands.record_epoch(session, job.job_id, job.attempt, epoch)
    return job


def requeue(sessions: Sessions, job: Assignment, end: End) -> None:
    with sessions.begin() as session:
        row = session.get_one(Job, job.job_id)
        match end:
            case "retried":
                commands.fail(session, job.job_id, job.attempt, "timeout", "too slow")
                commands.retry(session, row, "ada")
            case "resumed":
                commands.request_action(session, row, "pause", "ada")
                commands.end_attempt(session, job.job_id, job.attempt, "paused")
                commands.resume(session, row, "ada")
            case "preempted":
                commands.request_action(session, row, "preempt", "ada")
                commands.end_attempt(session, job.job_id, job.attempt, "preempted")
            case "lost":
                commands.end_attempt(session, job.job_id, job.attempt, "lost")


def finish(sessions: Sessions, job: Assignment) -> None:
    with sessions.begin() as session:
        finish_training(session, job)


def acquire_next(sessions: Sessions) -> tuple[int, int] | None:
    """The job that is acquired next, and its attempt."""
    with sessions.begin() as session:
        job = acquire_job(session)
        return job and (job.job_id, job.attempt)


def status(sessions: Sessions, job: Job) -> str:
    with sessions.begin() as session:
        return session.get_one(Job, job.id).status


@pytest.mark.parametrize("end", ["retried", "resumed", "preempted", "lost"])
def test_a_started_job_goes_on_although_an_equal_one_succeeded_meanwhile(
    worker: Sessions, end: End
) -> None:
    first = submit(worker, reuse=True)
    began = start(worker)
    submit(worker, reuse=False)
    finish(worker, start_afresh(worker))

    requeue(worker, began, end)

    assert acquire_next(worker) == (first.id, 2)


@pytest.mark.parametrize("end", ["retried", "resumed", "preempted", "lost"])
def test_a_job_succeeds_although_an_equal_one_that_had_started_is_queued(
    worker: Sessions, end: End
) -> None:
    first = submit(worker, reuse=True)
    began = start(worker)
    second = submit(worker, reuse=False)
    other = start_afresh(worker)
    requeue(worker, began, end)

    finish(worker, other)

    assert (status(worker, second), status(worker, first)) == ("succeeded", "queued")
    assert acquire_next(worker) == (first.id, 2)


def test_a_started_job_does_not_wait_for_an_equal_one_that_runs(worker: Sessions) -> None:
    first = submit(worker, reuse=True)
    began = start(worker)
    submit(worker, reuse=False)
    start_afresh(worker)

    requeue(worker, began, "preempted")

    assert acquire_next(worker) == (first.id, 2)


def test_an_answer_that_fails_fails_neither_its_source_nor_other_answers(worker: Sessions) -> None:
    first, broken, other = (submit(worker, reuse=True) for _ in range(3))
    job = start_afresh(worker)
    add_stray_record(worker, broken)

    finish(worker, job)

    assert [status(worker, one) for one in (first, broken, other)] == [
        "succeeded",
        "queued",
        "succeeded",
    ]
    # It is trained instead.
    assert acquire_next(worker) == (broken.id, 1)


def test_a_job_that_cannot_be_answered_in_its_turn_is_trained(worker: Sessions) -> None:
    submit(worker)
    finish(worker, start_afresh(worker))
    broken, other = submit_late(worker), submit_late(worker)
    add_stray_record(worker, broken)

    assert acquire_next(worker) == (broken.id, 1)
    assert acquire_next(worker) is None
    assert status(worker, other) == "succeeded"


def test_an_acquisition_gives_no_more_than_one_answer(worker: Sessions) -> None:
    submit(worker)
    finish(worker, start_afresh(worker))
    first, second = submit_late(worker), submit_late(worker)

    with worker.begin() as session:
        found = commands.acquire(
            session, "alpha", 101, lease_seconds=60.0, numerics=choose_numerics
        )

    assert found == Settled(first.id)
    assert (status(worker, first), status(worker, second)) == ("succeeded", "queued")


def start_afresh(sessions: Sessions) -> Assignment:
    """The next job, which has recorded nothing yet."""
    with sessions.begin() as session:
        job = acquire_job(session)
        assert job is not None
    return job


def submit_late(sessions: Sessions) -> Job:
    """As if an equal one had succeeded just after it was submitted."""
    job = submit(sessions, reuse=False)
    with sessions.begin() as session:
        set_job(session, job.id, may_reuse=True)
    return job


def add_stray_record(sessions: Sessions, job: Job) -> None:
    """A row with which that of an answer collides."""
    with sessions.begin() as session:
        session.add(Epoch(job_id=job.id, epoch=1, attempt=0, step=23, seconds=0.1))
