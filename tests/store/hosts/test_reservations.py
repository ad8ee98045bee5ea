"""Where a device or a host is reserved no job starts, and whoever waits for it is told."""

from datetime import timedelta

import pytest
from sqlalchemy import update
from sqlalchemy.orm import Session, sessionmaker

from store.db import NotFound, Reserved
from store.db.models import Reservation
from store.hosts import host_views, reservations
from store.jobs import WaitReason, leases, obstacles
from tests.support.factories import acquire_job, make_job, make_user, make_worker

Sessions = sessionmaker[Session]
GPU = {"device": "cuda"}


def reasons(session: Session, kind: str | None = "cuda") -> list[tuple[WaitReason, str]]:
    found = obstacles.describe_hosts(
        host_views.workers_view(session), host_views.devices_view(session), kind, 1
    )
    return [(one.reason, one.sentence) for one in found]


def test_no_job_starts_on_a_reserved_device_and_the_others_go_on(sessions: Sessions) -> None:
    with sessions.begin() as session:
        make_worker(session, cuda=2)
        ada = make_user(session, "ada")
        reservations.reserve(session, ada, "alpha", ("cuda", 0), 3600, "a demonstration")
        first, second = (make_job(session, resources=GPU) for _ in range(2))
        assert reasons(session) == []
        assignment = acquire_job(session)
        assert assignment is not None
        assert (assignment.job_id, assignment.devices[0].number) == (first.id, 1)
        assert acquire_job(session) is None
        assert leases.free_slots(session) == {"alpha": {"cpu": 1, "cuda": 0}}

        [row] = reservations.list_reservations(session)
        reservations.release(session, row)
        assignment = acquire_job(session)
        assert assignment is not None
        assert (assignment.job_id, assignment.devices[0].number) == (second.id, 0)


def test_a_drained_host_keeps_what_runs_and_takes_no_more_until_it_ends(sessions: Sessions) -> None:
    with sessions.begin() as session:
        make_worker(session, cpu=2)
        running = make_job(session)
        assert acquire_job(session) is not None
        ada = make_user(session, "ada", "admin")
        row = reservations.reserve(session, ada, "alpha", None, 3600, "new memory")
        make_job(session)
        assert acquire_job(session) is None
        session.refresh(running)
        assert running.status == "running"
        until = f"{row.ends_at:%Y-%m-%d %H:%M} UTC"
        sentence = f"alpha is reserved by ada until {until}: new memory"
        assert reasons(session, None) == [(WaitReason.RESERVED, sentence)]
        # What there isn't is still what is said of other kinds.
        assert [one for one, _ in reasons(session, "cuda")] == [WaitReason.NO_WORKER]

        session.execute(update(Reservation).values(ends_at=row.created_at - timedelta(seconds=1)))
        assert reservations.list_reservations(session) == []
        assert reasons(session, None) == []
        assert acquire_job(session) is not None


def test_nothing_is_reserved_twice_and_nothing_that_there_is_not(sessions: Sessions) -> None:
    with sessions.begin() as session:
        make_worker(session, cuda=2)
        ada = make_user(session, "ada")
        reservations.reserve(session, ada, "alpha", ("cuda", 0), 60, "mine")
        reservations.reserve(session, ada, "alpha", ("cuda", 1), 60, "mine, too")
        with pytest.raises(
            Reserved, match=r"alpha cuda 1 is reserved by ada until .* UTC: mine, too"
        ):
            reservations.reserve(session, ada, "alpha", ("cuda", 1), 60, "again")
        # A host may be drained though some of its devices are reserved.
        reservations.reserve(session, ada, "alpha", None, 60, "service")
        with pytest.raises(Reserved, match="alpha is reserved"):
            reservations.reserve(session, ada, "alpha", ("cpu", 0), 60, "later")
        for host, device in (("beta", None), ("alpha", ("cuda", 7))):
            with pytest.raises(NotFound, match="there is no"):
                reservations.reserve(session, ada, host, device, 60, "why")
