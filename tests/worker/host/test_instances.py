"""A worker whose name another has taken changes nothing of the other's, and the other nothing of its."""

import queue
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest
from sqlalchemy import func, select, update
from sqlalchemy.orm import Session, sessionmaker

from runtime.process import NO_TERMINATION
from store.db.models import Attempt, Worker
from store.hosts import host_health
from store.hosts.host_health import Shortage
from store.hosts.host_names import Holder
from store.jobs import commands, leases
from store.jobs.leases import Instance
from tests.support.factories import acquire_job, make_job
from worker.__main__ import _register
from worker.execution.context import Drain
from worker.execution.space import Space
from worker.host.child_watch import ChildWatch, end_orphaned_attempts
from worker.host.devices import HostDevice
from worker.host.host_lock import make_instance
from worker.host.host_report import HostReport
from worker.settings import Settings

Sessions = sessionmaker[Session]

STALE = make_instance()
NEW = replace(STALE, id="new", process=STALE.process + 1)
DEVICES = (HostDevice("cpu", 0, "a processor", 2),)
FULL = Shortage("/data", 0, 1, "/data is full")
NO_FOLDERS = Space(folders=(), needed_bytes=0)


@pytest.fixture
def holder(sessions: Sessions) -> Holder:
    """The first worker runs a job; then another registers under its name. Returns the first."""
    with sessions.begin() as session:
        make_job(session)
    register(sessions, "alpha", STALE, DEVICES, None)
    with sessions.begin() as session:
        assert acquire_job(session, instance=STALE.id) is not None
        row = session.scalars(select(Worker)).one()
        return Holder(
            row.instance, row.process, row.machine, row.namespace, row.address, row.started_at,
            seen_seconds_ago=0.0, has_ended=False, may_live=False,
        )  # fmt: skip


def register(
    sessions: Sessions,
    host: str,
    instance: Instance,
    devices: tuple[HostDevice, ...],
    previous: Holder | None,
) -> None:
    report = HostReport(host, NO_FOLDERS, instance.id)
    settings = Settings(database_url="", redis_url="", storage=Path(), host_name=host)
    _register(settings, sessions, instance, devices, previous, report, NO_TERMINATION, None)


def open_attempts(sessions: Sessions) -> list[str | None]:
    with sessions.begin() as session:
        query = select(Attempt.instance).where(Attempt.ended_at.is_(None)).order_by(Attempt.job_id)
        return list(session.scalars(query))


def test_jobs_of_a_worker_that_cannot_be_seen_are_left_to_their_leases(
    sessions: Sessions, holder: Holder
) -> None:
    register(sessions, "alpha", replace(NEW, namespace="elsewhere"), DEVICES, holder)
    assert open_attempts(sessions) == [STALE.id]


def test_jobs_of_a_worker_that_is_seen_to_be_gone_end_at_once(
    sessions: Sessions, holder: Holder
) -> None:
    gone = replace(holder, process=2**22 + 1)
    register(sessions, "alpha", NEW, DEVICES, gone)
    assert open_attempts(sessions) == []


def test_a_worker_whose_name_was_taken_acquires_and_ends_nothing(
    sessions: Sessions, holder: Holder
) -> None:
    register(sessions, "alpha", replace(NEW, namespace="elsewhere"), DEVICES, holder)
    with sessions.begin() as session:
        make_job(session)
        assert acquire_job(session, instance=STALE.id) is None
        assert acquire_job(session, instance=NEW.id) is not None
        before = session.scalars(select(Worker.seen_at)).one()
        host_health.report(session, "alpha", None, 0.0, STALE.id)
        host_health.report_shortage(session, "alpha", FULL, STALE.id)
        leases.set_draining(session, "alpha", instance=STALE.id)
        leases.worker_ended(session, "alpha", STALE.id)
        row = session.scalars(select(Worker)).one()
        assert (row.seen_at, row.draining, row.ended_at) == (before, False, None)
        assert row.shortage is None
    # No child of it is alive: only its own attempt is lost.
    assert end_orphaned_attempts(sessions, "alpha", lambda: (), STALE.id) == 1
    assert open_attempts(sessions) == [NEW.id]


def test_the_disk_of_a_worker_whose_name_was_taken_neither_holds_its_host_nor_forgives_it(
    sessions: Sessions, holder: Holder
) -> None:
    with sessions.begin() as session:
        make_job(session)
        assignment = acquire_job(session, instance=STALE.id)
        assert assignment is not None
    register(sessions, "alpha", replace(NEW, namespace="elsewhere"), DEVICES, holder)
    with sessions.begin() as session:
        commands.end_attempt(
            session, assignment.job_id, assignment.attempt, "disk", error="no room"
        )
        row = session.scalars(select(Worker)).one()
        assert (row.held_until, row.disk_failures) == (None, 0)
        host_health.hold(session, "alpha", NEW.id)
        other = session.scalars(select(Attempt).where(Attempt.ended_at.is_(None))).one()
        commands.finish(session, other.job_id, other.number, reason="completed")
        session.refresh(row)
        assert row.disk_failures == 1
        assert row.held_until is not None


def test_a_host_whose_start_took_long_gets_its_first_wake_ups_once_it_was_seen(
    sessions: Sessions,
) -> None:
    register(sessions, "alpha", STALE, DEVICES, None)
    with sessions.begin() as session:
        session.execute(update(Worker).values(seen_at=func.now() - timedelta(hours=1)))
    free: queue.Queue[dict[str, dict[str, int]]] = queue.Queue()

    def wake() -> None:
        with sessions.begin() as session:
            free.put(leases.free_slots(session))

    report = HostReport("alpha", NO_FOLDERS, STALE.id)
    watch = ChildWatch(sessions, "alpha", Drain(), report, wake, STALE.id)
    try:
        assert free.get(timeout=30) == {"alpha": {"cpu": 2}}
    finally:
        watch.stop()


def test_a_worker_whose_jobs_run_on_shares_no_slot_with_its_successor(
    sessions: Sessions, holder: Holder
) -> None:
    register(sessions, "alpha", replace(NEW, namespace="elsewhere"), DEVICES[:1], holder)
    with sessions.begin() as session:
        make_job(session)
        make_job(session)
        assignment = acquire_job(session, instance=NEW.id)
        assert assignment is not None
        assert [device.slot for device in assignment.devices] == [1]
        assert acquire_job(session, instance=NEW.id) is None
