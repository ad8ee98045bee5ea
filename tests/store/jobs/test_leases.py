"""Hosts, devices and leases."""

from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import func, select, text, update
from sqlalchemy.orm import Session, sessionmaker

from store.db.models import Device, Lease, Worker
from store.hosts import host_health, host_views
from store.jobs import commands, leases
from store.results import result_rows
from tests.support.factories import acquire_job, make_job, make_worker

Sessions = sessionmaker[Session]


def test_a_lost_attempt_is_ended_by_the_sweep(sessions: Sessions) -> None:
    with sessions.begin() as session:
        make_worker(session)
        job = make_job(session)
        acquire_job(session, lease_seconds=-10.0)

        assert leases.release_expired(session, 60.0) == []
        assert leases.release_expired(session) == [job.id]

        attempt = result_rows.attempts(session, job.id)[0]
        last = result_rows.transitions(session, job.id)[-1]
        assert session.scalars(select(Lease)).all() == []
    assert (job.status, attempt.end, attempt.counts) == ("queued", "lost", True)
    assert (last.who, last.why) == ("sweep", "attempt 1 lost")


def test_a_job_that_cannot_be_returned_does_not_keep_the_others(
    sessions: Sessions, monkeypatch: pytest.MonkeyPatch
) -> None:
    with sessions.begin() as session:
        make_worker(session, cpu=2)
        broken, sound = make_job(session), make_job(session)
        for _ in range(2):
            acquire_job(session, lease_seconds=-10.0)
    end_attempt = leases.end_attempt

    def fail_for_one(session: Session, job_id: int, *args: Any, **options: Any) -> Any:
        if job_id == broken.id:
            session.execute(text("SELECT 1 / 0"))
        return end_attempt(session, job_id, *args, **options)

    monkeypatch.setattr(leases, "end_attempt", fail_for_one)
    with sessions.begin() as session:
        assert leases.release_expired(session) == [sound.id]


def test_a_job_that_is_lost_again_and_again_fails(sessions: Sessions) -> None:
    with sessions.begin() as session:
        make_worker(session)
        job = make_job(session)
        for _ in range(3):
            assert acquire_job(session, lease_seconds=-1.0) is not None
            leases.release_expired(session)

    assert (job.status, job.reason, job.error) == (
        "failed", "error", "the worker did not renew its lease",
    )  # fmt: skip


def test_a_loss_that_an_outage_caused_does_not_count(sessions: Sessions) -> None:
    with sessions.begin() as session:
        make_worker(session)
        job = make_job(session)
        for _ in range(5):
            assert acquire_job(session, lease_seconds=-1.0) is not None
            leases.release_expired(session, counts=False)

        assert {attempt.end for attempt in result_rows.attempts(session, job.id)} == {"lost"}
    assert job.status == "queued"


def test_a_lease_that_is_still_held_is_left_alone(sessions: Sessions) -> None:
    with sessions.begin() as session:
        make_worker(session)
        job = make_job(session)
        acquire_job(session)

        assert leases.expired(session) == []
        assert leases.release_expired(session) == []
    assert job.status == "running"


def test_a_lease_left_by_an_ended_attempt_is_removed(sessions: Sessions) -> None:
    with sessions.begin() as session:
        make_worker(session)
        job = make_job(session)
        acquire_job(session)
        device = session.scalars(select(Device)).one()
        commands.finish(session, job.id, 1, reason="completed")
        expires = func.now() - timedelta(seconds=1)
        session.add(
            Lease(job_id=job.id, attempt=1, device_id=device.id, slot=0, expires_at=expires)
        )
        session.flush()

        assert leases.release_expired(session) == []
        assert session.scalars(select(Lease)).all() == []
    assert job.status == "succeeded"


def test_a_worker_registers_again_with_other_devices(sessions: Sessions) -> None:
    with sessions.begin() as session:
        make_worker(session, cpu=4, cuda=2)
        leases.set_draining(session, "alpha")
        make_worker(session, cpu=2)

        views = host_views.devices_view(session)
        worker = host_views.workers_view(session)[0]

    assert [(view.kind, view.slots) for view in views] == [("cpu", 2)]
    assert (worker.draining, worker.slots, worker.process) == (False, 2, 100)


def test_a_device_that_went_away_while_held_is_given_to_nobody(sessions: Sessions) -> None:
    with sessions.begin() as session:
        make_worker(session, cpu=0, cuda=1)
        make_job(session)
        acquire_job(session)
        make_worker(session, cpu=0, cuda=0)
        make_job(session)

        assert acquire_job(session) is None
        assert host_views.devices_view(session) == []


def test_devices_show_who_holds_them(sessions: Sessions) -> None:
    with sessions.begin() as session:
        make_worker(session, cpu=2)
        job = make_job(session, name="mine")
        acquire_job(session)

        view = host_views.devices_view(session)[0]
        worker = host_views.workers_view(session)[0]

    assert (view.host, view.kind, view.number, view.name) == ("alpha", "cpu", 0, "a processor")
    assert [(held.slot, held.job_id, held.job_name, held.attempt) for held in view.held] == [
        (0, job.id, "mine", 1)
    ]
    assert (worker.alive, worker.slots, worker.busy) == (True, 2, 1)


def test_a_worker_that_is_silent_is_not_alive_until_it_is_seen(sessions: Sessions) -> None:
    with sessions.begin() as session:
        make_worker(session)
        session.execute(update(Worker).values(seen_at=func.now() - timedelta(hours=1)))
        assert not host_views.workers_view(session)[0].alive
        assert leases.free_slots(session) == {}

        host_health.report(session, "alpha", None, 0.0)
        assert host_views.workers_view(session)[0].alive
        assert leases.free_slots(session) == {"alpha": {"cpu": 1}}
