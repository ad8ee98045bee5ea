"""The sweep ends attempts whose lease ran out, beside workers that end theirs."""

import threading
import time
from datetime import timedelta
from pathlib import Path

import pytest
from sqlalchemy import Engine, func, select, text, update
from sqlalchemy.orm import Session, sessionmaker

from store.db.models import Job, Lease
from store.jobs import commands, maintenance, wakeups
from tests.support.factories import acquire_job, make_job, make_user, make_worker
from tests.support.waiting import wait_for
from worker.settings import Settings
from worker.sweep.__main__ import Sweep

Sessions = sessionmaker[Session]


def test_after_an_outage_the_sweep_holds_nobody_s_use_while_it_waits_for_a_job(
    sessions: Sessions, engine: Engine, database_url: str, tmp_path: Path
) -> None:
    with sessions.begin() as session:
        make_worker(session, cpu=2)
        owner = make_user(session)
        jobs = [make_job(session, owner).id for _ in range(2)]
        for job_id, minutes in zip(jobs, (60, 1), strict=True):
            acquire_job(session)
            ran_out = func.clock_timestamp() - timedelta(minutes=minutes)
            session.execute(update(Lease).where(Lease.job_id == job_id).values(expires_at=ran_out))
    settings = Settings(database_url=database_url, redis_url="redis://nowhere", storage=tmp_path)
    sweep = Sweep(settings, engine, wakeups.make_celery(settings.redis_url))
    # The first lease ran out before the outage was over, the second since.
    sweep._back_at = time.monotonic() - settings.lease_seconds - 600.0
    released: list[int] = []
    with sessions.begin() as session:
        session.execute(select(Job.id).where(Job.id == jobs[1]).with_for_update(key_share=True))
        thread = threading.Thread(target=lambda: released.extend(sweep._release()))
        thread.start()
        waits = text("SELECT count(*) FROM pg_locks WHERE NOT granted")
        with engine.connect() as connection:
            wait_for(lambda: connection.scalar(waits), "the sweep to wait")
        commands.finish(session, jobs[1], 1, reason="completed")
    thread.join()
    assert released == [jobs[0]]


def test_a_database_that_hung_is_an_outage_that_is_over(
    engine: Engine, database_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = Settings(
        database_url=database_url,
        redis_url="redis://nowhere",
        storage=tmp_path,
        lease_seconds=2.0,
        sweep_seconds=0.01,
    )
    sweep = Sweep(settings, engine, wakeups.make_celery(settings.redis_url))
    stop = threading.Event()
    seen: list[bool] = []

    def look() -> None:
        seen.append(sweep._back_at is not None)
        if len(seen) == 2:
            stop.set()

    # The second time longer than a quarter of the lease.
    monkeypatch.setattr(
        maintenance, "check_alive", lambda _: time.sleep(0.6) if len(seen) == 1 else None
    )
    monkeypatch.setattr(sweep, "round", look)
    with engine.connect() as connection:
        sweep._rounds(connection, stop)
    assert seen == [False, True]
