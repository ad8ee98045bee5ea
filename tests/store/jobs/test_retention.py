"""Retention: checkpoints to resume from go some time after the job's end, the best one and what others name stay."""

from datetime import timedelta

import pytest
from sqlalchemy import func, insert, select
from sqlalchemy.orm import Session, sessionmaker

from store.db.errors import LimitReached
from store.db.models import Checkpoint, Job
from store.hosts import disk_use
from store.hosts.disk_use import Owned, Stored
from store.jobs import commands, limits, maintenance
from tests.support.factories import (
    acquire_job,
    finish_training,
    make_job,
    make_user,
    make_worker,
    set_job,
)
from trainer.events import CheckpointSaved

Sessions = sessionmaker[Session]
WEEK = timedelta(days=7)


def train(session: Session, **options: object) -> int:
    """A job with a `last` checkpoint of 5 bytes and a `best` of 7, that has succeeded an hour ago."""
    job = make_job(session, **options)  # type: ignore[arg-type]
    assignment = acquire_job(session)
    assert assignment is not None
    for kind, size in (("last", 5), ("best", 7)):
        path = f"jobs/{job.id}/attempt-1/{kind}.pt"
        event = CheckpointSaved(kind, 0, 1, path, "d" * 32, size)  # type: ignore[arg-type]
        commands.record_checkpoint(session, job.id, 1, event)
    finish_training(session, assignment)
    session.flush()
    ended_at = session.scalars(select(func.now() - timedelta(hours=1))).one()
    set_job(session, job.id, finished_at=ended_at)
    return job.id


def kinds(session: Session, job_id: int) -> list[str]:
    query = select(Checkpoint.kind).where(Checkpoint.job_id == job_id)
    return sorted(session.scalars(query))


def test_the_last_checkpoint_of_a_job_that_ended_long_ago_goes_and_the_best_stays(
    sessions: Sessions,
) -> None:
    with sessions.begin() as session:
        make_worker(session)
        job = train(session)
        assert maintenance.measure_checkpoints(session, WEEK) == Stored()
        assert maintenance.remove_checkpoints(session, WEEK).paths == ()
        assert maintenance.measure_checkpoints(session, timedelta(minutes=1)) == Stored(1, 5)

        removed = maintenance.remove_checkpoints(session, timedelta(minutes=1))
        assert removed.stored == Stored(1, 5)
        assert removed.paths == [f"jobs/{job}/attempt-1/last.pt"]
        assert kinds(session, job) == ["best"]


def test_what_a_job_would_go_on_from_stays_while_it_has_not_ended(sessions: Sessions) -> None:
    with sessions.begin() as session:
        make_worker(session)
        job = make_job(session)
        assert acquire_job(session) is not None
        event = CheckpointSaved("last", 0, 1, "jobs/1/last.pt", "d" * 32, 5)
        commands.record_checkpoint(session, job.id, 1, event)
        commands.end_attempt(session, job.id, 1, "drained")
        assert maintenance.remove_checkpoints(session, timedelta()).stored == Stored()
        assert kinds(session, job.id) == ["last"]


def test_a_file_that_an_answered_job_shares_goes_with_the_last_row_that_names_it(
    sessions: Sessions,
) -> None:
    with sessions.begin() as session:
        make_worker(session)
        source = train(session)
        answered = make_job(session, reuse=True)
        while acquire_job(session) is not None:
            pass
        session.refresh(answered)
        assert (answered.status, answered.reused_from) == ("succeeded", source)
        # It counts once, for the owner of the first one only.
        assert [one.bytes for one in disk_use.read_owned(session).values()] == [12]
        assert disk_use.read_stored(session)["checkpoints"] == Stored(2, 12)
        removed = maintenance.remove_checkpoints(session, timedelta(minutes=1))
        assert (removed.stored, removed.paths) == (Stored(1, 0), [])
        set_job(session, answered.id, finished_at=session.get_one(Job, source).finished_at)
        assert maintenance.remove_checkpoints(session, timedelta(minutes=1)).paths == [
            f"jobs/{source}/attempt-1/last.pt"
        ]


def test_of_several_best_checkpoints_the_newest_stays(sessions: Sessions) -> None:
    with sessions.begin() as session:
        make_worker(session)
        job = train(session)
        values = {"job_id": job, "attempt": 1, "kind": "best", "epoch": 1, "step": 9, "digest": ""}
        newer = f"jobs/{job}/attempt-1/best-9.pt"
        session.execute(insert(Checkpoint).values(**values, path=newer, bytes=1))
        removed = maintenance.remove_checkpoints(session, timedelta(minutes=1))
        assert removed.stored == Stored(2, 12)
        rest = session.scalars(select(Checkpoint.path).where(Checkpoint.job_id == job)).all()
        assert rest == [newer]


def test_a_checkpoint_that_is_about_to_answer_an_equal_job_stays(sessions: Sessions) -> None:
    with sessions.begin() as session:
        make_worker(session)
        source = train(session)
    with sessions.begin() as answering:
        answered = make_job(answering, reuse=True)
        while acquire_job(answering) is not None:
            pass
        answering.refresh(answered)
        assert answered.reused_from == source
        with sessions.begin() as session:
            removed = maintenance.remove_checkpoints(session, timedelta(minutes=1))
    assert removed.stored == Stored()
    with sessions.begin() as session:
        assert kinds(session, source) == ["best", "last"]


def test_whoever_has_filled_their_share_of_the_disk_submits_nothing(sessions: Sessions) -> None:
    with sessions.begin() as session:
        make_worker(session)
        ada = make_user(session, "ada")
        limits.change(session, ada, {"disk_bytes": 12})
        train(session, owner=ada)
        assert disk_use.read_owned(session, ada.id) == {"ada": Owned(checkpoints=12, files=0)}
        with pytest.raises(LimitReached, match=r"may keep 12 B and has 12 B .*normlab gc"):
            make_job(session, ada)
        [job] = session.scalars(select(Job))
        with pytest.raises(LimitReached, match="limit disk_bytes"):
            limits.admit_again(session, [job], ["succeeded"])
        maintenance.remove_checkpoints(session, timedelta(minutes=1))
        make_job(session, ada)
