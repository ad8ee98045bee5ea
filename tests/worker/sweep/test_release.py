"""The sweep ends attempts whose lease ran out, beside workers that end theirs."""

import threading
import time
from collections.abc import Mapping
from datetime import timedelta
from pathlib import Path

import pytest
from sqlalchemy import Engine, func, select, update
from sqlalchemy.orm import Session, sessionmaker

from runtime.tracing import OpenSpan, Span, attempt_context
from store.db.models import Job, Lease
from store.jobs import commands, maintenance, wakeups
from tests.support.factories import acquire_job, make_job, make_user, make_worker
from worker.settings import Settings
from worker.sweep.__main__ import Sweep

Sessions = sessionmaker[Session]


def test_after_an_outage_the_sweep_passes_over_a_job_that_somebody_holds(
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
    with sessions.begin() as session:
        session.execute(select(Job.id).where(Job.id == jobs[1]).with_for_update(key_share=True))
        assert sweep._release() == [jobs[0]]
        # Also their owner's use is nobody's meanwhile.
        commands.finish(session, jobs[1], 1, reason="completed")


def test_an_attempt_that_the_sweep_ends_is_an_error_of_its_trace(
    sessions: Sessions, engine: Engine, database_url: str, tmp_path: Path
) -> None:
    context = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
    with sessions.begin() as session:
        make_worker(session, cpu=2)
        jobs = [make_job(session, make_user(session, name)) for name in ("ada", "bob")]
        jobs[0].trace_context = context
        traced = jobs[0].id
        for _ in jobs:
            acquire_job(session)
        long_ago = func.clock_timestamp() - timedelta(minutes=1)
        session.execute(update(Lease).values(expires_at=long_ago))
    settings = Settings(database_url=database_url, redis_url="redis://nowhere", storage=tmp_path)
    traces = Recorded()
    sweep = Sweep(settings, engine, wakeups.make_celery(settings.redis_url), traces)
    assert len(sweep._release()) == 2
    (span,) = traces.spans
    assert (span.parent, span.context) == (context, attempt_context(context, traced, 1))
    assert (span.error, span.attributes["normlab.end"]) == ("lost", "lost")


class Recorded:
    """What was to be sent."""

    def __init__(self) -> None:
        self.spans: list[Span] = []

    def record(self, span: Span) -> None:
        self.spans.append(span)

    def begin(self, name: str, headers: Mapping[str, str]) -> OpenSpan:
        raise NotImplementedError

    def close(self) -> None:
        pass


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
