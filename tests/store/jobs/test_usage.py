"""What people have used: every attempt is counted once, however it ends."""

import random
from collections.abc import Callable
from datetime import timedelta

import pytest
from sqlalchemy import delete, func, select, text, update
from sqlalchemy.orm import Session, sessionmaker

from store.db.engine import database_now
from store.db.models import HALF_LIFE_SECONDS, Attempt, Job, Lease, Usage
from store.jobs import commands, leases, maintenance, usage
from store.jobs.attempts import End
from store.jobs.usage import ASSUMED_SECONDS
from tests.support.factories import (
    acquire_job,
    make_cells,
    make_job,
    make_study,
    make_user,
    make_worker,
    set_job,
)

Sessions = sessionmaker[Session]
Ending = Callable[[Session, int, int], object]


def _end(end: End) -> Ending:
    return lambda session, job, attempt: commands.end_attempt(session, job, attempt, end)


def _cancel(session: Session, job: int, attempt: int) -> None:
    commands.request_action(session, session.get_one(Job, job), "cancel", "ada")
    commands.end_attempt(session, job, attempt, "cancelled")


def _lose(session: Session, job: int, attempt: int) -> None:
    ran_out = func.clock_timestamp() - timedelta(hours=1)
    session.execute(update(Lease).where(Lease.job_id == job).values(expires_at=ran_out))
    assert leases.release_expired(session) == [job]


ENDINGS: dict[str, Ending] = {
    "finished": lambda session, job, attempt: commands.finish(
        session, job, attempt, reason="completed"
    ),
    "failed": lambda session, job, attempt: commands.fail(session, job, attempt, "error", "broken"),
    "swept": _lose,
    "cancel": _cancel,
    **{
        end: _end(end)
        for end in ("lost", "preempted", "drained", "paused", "stalled", "oom", "disk", "error")
    },
}


@pytest.mark.parametrize("ending", ENDINGS)
def test_an_attempt_counts_at_its_estimate_until_its_time_replaces_it(
    sessions: Sessions, ending: str
) -> None:
    with sessions.begin() as session:
        make_worker(session)
        owner = make_user(session)
        job = make_job(session, owner)
        acquire_job(session)
        assert used(session) == {owner.id: pytest.approx(ASSUMED_SECONDS)}

    with sessions.begin() as session:
        started(session, job.id, seconds_ago=100.0)
        ENDINGS[ending](session, job.id, 1)

    with sessions.begin() as session:
        assert used(session) == {owner.id: pytest.approx(100.0, abs=30.0)}
        assert usage.drift(session) < 1e-6


def test_each_of_several_devices_counts(sessions: Sessions) -> None:
    with sessions.begin() as session:
        make_worker(session, cpu=0, cuda=2)
        job = make_job(session)
        set_job(session, job.id, devices=2)
        acquire_job(session)
        assert list(used(session).values()) == [pytest.approx(2 * ASSUMED_SECONDS)]
        started(session, job.id, seconds_ago=1000.0)
        commands.finish(session, job.id, 1, reason="completed")

        assert list(used(session).values()) == [pytest.approx(2000.0, rel=0.1)]


def test_a_running_job_counts_as_the_last_of_its_study_took(sessions: Sessions) -> None:
    with sessions.begin() as session:
        make_worker(session)
        make_study(session, cells=make_cells(seeds=(0, 1)))
        first = acquire_job(session)
        assert first is not None
        commands.finish(session, first.job_id, 1, reason="completed", seconds_used=40.0)
        second = acquire_job(session)
        assert second is not None
        attempt = session.get_one(Attempt, (second.job_id, 1))
        assert attempt.expected_seconds == 40.0
        started(session, second.job_id, seconds_ago=500.0)

        assert list(used(session).values()) == [pytest.approx(500.0, abs=60.0)]


def test_ends_that_commit_in_another_order_come_to_the_same(sessions: Sessions) -> None:
    with sessions.begin() as session:
        make_worker(session)
        owner = make_user(session)
        jobs = [make_job(session, owner) for _ in range(2)]
        for job in jobs:
            acquire_job(session)
            commands.finish(session, job.id, 1, reason="completed")
        session.execute(delete(Usage))

        now = database_now(session)
        for job, hours in zip(jobs, (2, 40), strict=True):
            row = session.get_one(Attempt, (job.id, 1))
            row.ended_at = now - timedelta(hours=hours)
            row.started_at = row.ended_at - timedelta(seconds=1000)
            session.flush()
            usage.charge(session, job, row)

        assert usage.drift(session) < 1e-6


def test_use_of_years_ago_is_no_error(sessions: Sessions) -> None:
    with sessions.begin() as session:
        owner = make_user(session)
        session.add(Usage(owner_id=owner.id, seconds=1e6, as_of=func.now() - timedelta(days=5000)))
        session.flush()
        assert used(session)[owner.id] == pytest.approx(0.0)
        assert usage.drift(session) == pytest.approx(0.0)


@pytest.mark.parametrize("seed", range(2))
def test_after_any_history_the_sum_is_that_of_all_attempts(sessions: Sessions, seed: int) -> None:
    draw = random.Random(seed)
    with sessions.begin() as session:
        make_worker(session, cpu=3)
        people = [make_user(session) for _ in range(2)]
        jobs = [make_job(session, draw.choice(people)).id for _ in range(6)]

    for _ in range(25):
        with sessions.begin() as session:
            step(session, draw, jobs)
        with sessions.begin() as session:
            assert usage.drift(session) < 1e-6
            assert used(session) == pytest.approx(summed(session), rel=1e-3, abs=1.0)


def step(session: Session, draw: random.Random, jobs: list[int]) -> None:
    """Time passes, and then a job starts, ends, is given up or begins again."""
    if draw.random() < 0.3:
        # Whole days: anything else would move what happened after midnight to the day before.
        wait(session, draw.choice((1, 2)) * 86400.0)
    job = session.get_one(Job, draw.choice(jobs))
    if job.status == "running":
        started(session, job.id, seconds_ago=draw.uniform(1.0, 5000.0))
        ENDINGS[draw.choice(list(ENDINGS))](session, job.id, job.attempt)
    elif job.status == "paused":
        commands.resume(session, job, "ada")
    elif job.status in ("failed", "cancelled"):
        commands.retry(session, job, "ada")
    else:
        session.execute(text("UPDATE workers SET held_until = NULL"))
        acquire_job(session)


def wait(session: Session, seconds: float) -> None:
    """As if all that is in the tables had happened so much earlier."""
    delta = timedelta(seconds=seconds)
    session.execute(
        update(Attempt).values(
            started_at=Attempt.started_at - delta, ended_at=Attempt.ended_at - delta
        )
    )
    session.execute(update(Usage).values(as_of=Usage.as_of - delta))


def test_the_check_makes_wrong_sums_anew(sessions: Sessions) -> None:
    with sessions.begin() as session:
        make_worker(session)
        job = make_job(session)
        acquire_job(session)
        started(session, job.id, seconds_ago=100.0)
        commands.finish(session, job.id, 1, reason="completed")
        session.execute(update(Usage).values(seconds=7.0))

        assert maintenance.check_usage(session) > 0.5
        assert maintenance.check_usage(session) < 1e-6
        assert list(used(session).values()) == [pytest.approx(100.0, abs=30.0)]


def test_another_half_life_counts_from_the_beginning(sessions: Sessions) -> None:
    with sessions.begin() as session:
        make_worker(session)
        job = make_job(session)
        acquire_job(session)
        started(session, job.id, seconds_ago=100.0)
        commands.finish(session, job.id, 1, reason="completed")
        wait(session, 7200.0)

        assert usage.set_half_life(session, 3600.0)
        assert list(used(session).values()) == [pytest.approx(25.0, abs=10.0)]
        assert usage.drift(session) < 1e-6
        assert not usage.set_half_life(session, 3600.0)


def test_the_sweep_waits_for_no_transaction_that_holds_a_job(sessions: Sessions) -> None:
    """One that will write the use of the same person, or one of a process that hangs."""
    with sessions.begin() as session:
        make_worker(session, cpu=2)
        owner = make_user(session)
        jobs = [make_job(session, owner).id for _ in range(2)]
        for _ in jobs:
            acquire_job(session, lease_seconds=-10.0)
    with sessions.begin() as session:
        session.execute(select(Job.id).where(Job.id == jobs[1]).with_for_update(key_share=True))
        with sessions.begin() as sweep:
            sweep.execute(text("SET LOCAL lock_timeout = '2s'"))
            assert leases.release_expired(sweep) == [jobs[0]]
        commands.finish(session, jobs[1], 1, reason="completed")
        assert usage.drift(session) < 1e-6


def used(session: Session) -> dict[int, float]:
    owners = usage.by_owner()
    rows = session.execute(select(owners.c.owner_id, owners.c.seconds))
    return {owner_id: seconds for owner_id, seconds in rows}


def summed(session: Session) -> dict[int, float]:
    """Computed apart, from all attempts."""
    now = session.scalars(select(func.clock_timestamp())).one()
    sums: dict[int, float] = {}
    for attempt, job in session.execute(select(Attempt, Job).join(Job, Job.id == Attempt.job_id)):
        ended = attempt.ended_at or now
        seconds = (ended - attempt.started_at).total_seconds()
        if attempt.ended_at is None:
            seconds = max(seconds, attempt.expected_seconds)
        age = (now - ended).total_seconds()
        fading = seconds * attempt.slots * 0.5 ** (age / HALF_LIFE_SECONDS)
        sums[job.owner_id] = sums.get(job.owner_id, 0.0) + fading
    return sums


def started(session: Session, job_id: int, *, seconds_ago: float) -> None:
    """The job's open attempt began so long ago."""
    at = func.clock_timestamp() - timedelta(seconds=seconds_ago)
    statement = update(Attempt).where(Attempt.job_id == job_id, Attempt.ended_at.is_(None))
    session.execute(statement.values(started_at=at))
