"""Checkpoints that jobs begin from: found when they are there, and kept for as long as a job waits for them."""

from datetime import timedelta

import pytest
from sqlalchemy import delete, func, select
from sqlalchemy.orm import Session, sessionmaker

from store.catalog import initial_weights
from store.db import InUse, NotFound, WrongStatus
from store.db.models import Checkpoint, Job
from store.deletions import deleting
from store.jobs import commands, maintenance
from tests.support.factories import (
    acquire_job,
    finish_training,
    make_cells,
    make_job,
    make_study,
    make_worker,
    set_job,
)
from trainer.events import CheckpointSaved
from trainer.spec import InitFrom

Sessions = sessionmaker[Session]
MINUTE = timedelta(minutes=1)


def train(session: Session) -> int:
    """A job with a checkpoint of each kind, that succeeded an hour ago."""
    make_worker(session)
    job = make_job(session)
    assignment = acquire_job(session)
    assert assignment is not None
    assert assignment.initial is None
    for kind, digest in (("last", "a" * 32), ("best", "b" * 32)):
        path = f"jobs/{job.id}/attempt-1/{kind}.pt"
        event = CheckpointSaved(kind, 3, 9, path, digest, 5)  # type: ignore[arg-type]
        commands.record_checkpoint(session, job.id, 1, event)
    finish_training(session, assignment)
    session.flush()
    ended_at = session.scalars(select(func.now() - timedelta(hours=1))).one()
    set_job(session, job.id, finished_at=ended_at)
    session.expire_all()
    return job.id


def begin_from(job: int, kind: str = "last", digest: str = "a" * 32) -> dict[str, object]:
    return {"init_from": {"job": job, "checkpoint": kind, "digest": digest}}


def test_the_newest_checkpoint_of_a_job_that_has_succeeded_is_found(sessions: Sessions) -> None:
    with sessions.begin() as session:
        job = train(session)
        found = initial_weights.find(session, InitFrom(job=job))
        assert (found.digest, found.epoch) == ("b" * 32, 3)
        assert found.spec["model"]["name"] == "mlp"
        assert found.info["name"] == "digits"
        assert (
            initial_weights.find(session, InitFrom(job=job, checkpoint="last")).digest == "a" * 32
        )


def test_a_job_that_is_not_there_or_has_not_succeeded_is_refused(sessions: Sessions) -> None:
    with sessions.begin() as session:
        job = train(session)
        queued = make_job(session).id
        with pytest.raises(NotFound, match="there is no job 4711"):
            initial_weights.find(session, InitFrom(job=4711))
        with pytest.raises(WrongStatus, match=f"job {queued} is queued"):
            initial_weights.find(session, InitFrom(job=queued))
        session.execute(delete(Checkpoint).where(Checkpoint.kind == "last"))
        with pytest.raises(NotFound, match=f"job {job} has no last checkpoint; it may"):
            initial_weights.find(session, InitFrom(job=job, checkpoint="last"))


def test_a_worker_is_told_which_file(sessions: Sessions) -> None:
    with sessions.begin() as session:
        job = train(session)
        make_job(session, **begin_from(job))
        assignment = acquire_job(session)
        assert assignment is not None
        path = f"jobs/{job}/attempt-1/last.pt"
        assert assignment.initial == CheckpointSaved("last", 3, 9, path, "a" * 32, 5)


def test_a_checkpoint_stays_while_a_job_waits_for_it_and_no_longer(sessions: Sessions) -> None:
    with sessions.begin() as session:
        job = train(session)
        waiting = make_job(session, **begin_from(job))
        assert maintenance.remove_checkpoints(session, MINUTE).paths == ()
        commands.request_action(session, waiting, "cancel", "test")
        session.flush()
        assert maintenance.remove_checkpoints(session, MINUTE).paths == [
            f"jobs/{job}/attempt-1/last.pt"
        ]


def test_a_job_cannot_be_deleted_while_another_one_waits_for_its_weights(
    sessions: Sessions,
) -> None:
    with sessions.begin() as session:
        job = train(session)
        waiting = make_job(session, **begin_from(job))
        with pytest.raises(InUse, match=f"job {waiting.id} has not ended and begins from .* {job}"):
            deleting.delete_job(session, job)
        commands.request_action(session, waiting, "cancel", "test")
        session.flush()
        deleting.delete_job(session, job)
        assert session.get(Job, job) is None


def test_nothing_is_accepted_once_the_checkpoint_has_gone(sessions: Sessions) -> None:
    with sessions.begin() as session:
        job = train(session)
    with sessions.begin() as session:
        assert maintenance.remove_checkpoints(session, MINUTE).paths
    gone = "last checkpoint of job .* has just been removed"
    with sessions.begin() as session, pytest.raises(NotFound, match=gone):
        make_job(session, **begin_from(job))
    with sessions.begin() as session, pytest.raises(NotFound, match=gone):
        make_study(session, cells=make_cells(**begin_from(job)))


def test_what_is_being_submitted_holds_its_checkpoint(sessions: Sessions) -> None:
    with sessions.begin() as session:
        job = train(session)
    with sessions.begin() as submitting:
        make_job(submitting, **begin_from(job))
        with sessions.begin() as session:
            # Skips what is locked.
            assert maintenance.remove_checkpoints(session, MINUTE).paths == ()
    with sessions.begin() as session:
        assert maintenance.remove_checkpoints(session, MINUTE).paths == ()
