"""The heartbeat renews while the job moves, suspends it when nobody knows, and ends what hangs."""

import os
import threading
import time
from pathlib import Path

import pytest
from sqlalchemy.exc import OperationalError

from runtime.supervision import OomKills
from store.db.errors import LostLease
from store.jobs.attempts import Renewed
from tests.support.waiting import wait_for
from worker.execution import heartbeat as module
from worker.execution.heartbeat import Heartbeat, LeaseTiming

AWAY = OperationalError("SELECT 1", {}, Exception("the server is gone"))


class Database:
    """Answers renewals, as it is told to."""

    def __init__(self) -> None:
        self.renewals = 0
        self.error: Exception | None = None

    def renew(self, seconds_used: float) -> Renewed:
        if self.error is not None:
            raise self.error
        self.renewals += 1
        return Renewed(requested_action="pause")


def make_heartbeat(
    database: Database, *, lease: float = 1.0, stall: float = 60.0, **more: object
) -> Heartbeat:
    abandon = more.pop("abandon", lambda end, text: None)
    wanted = more.pop("wanted", lambda: None)
    more.setdefault("parent", os.getppid())
    return Heartbeat(
        database.renew,
        wanted,  # type: ignore[arg-type]
        abandon,  # type: ignore[arg-type]
        LeaseTiming(lease=lease, renewal=0.02, stall=stall),
        acquired_at=time.monotonic(),
        **more,  # type: ignore[arg-type]
    )


def test_renewals_bring_back_requested_actions() -> None:
    database = Database()
    with make_heartbeat(database) as heartbeat:
        wait_for(lambda: database.renewals > 1)
        assert heartbeat.requested_action == "pause"
        assert heartbeat.trusted


def test_a_job_is_suspended_before_its_lease_could_have_ended_and_goes_on_after_a_renewal() -> None:
    database = Database()
    database.error = AWAY
    with make_heartbeat(database, lease=3.0) as heartbeat:
        wait_for(lambda: not heartbeat.trusted)
        used = heartbeat.seconds_used
        assert used < 3.0 + 1.0
        threading.Timer(2.0, lambda: setattr(database, "error", None)).start()
        assert heartbeat.suspend(give_up=lambda: False)
        assert not heartbeat.lost
        # The time of the suspension is nobody's training time.
        assert heartbeat.seconds_used < used + 1.9


def test_a_lost_lease_is_known_and_never_asked_for_again() -> None:
    database = Database()
    database.error = LostLease(1, 1)
    with make_heartbeat(database) as heartbeat:
        wait_for(lambda: heartbeat.lost)
        database.error = None
        time.sleep(0.2)
    assert database.renewals == 0


def test_a_job_that_stands_still_is_reported_with_its_stack_and_its_process_ends() -> None:
    reports: list[tuple[str, str]] = []
    statuses: list[int] = []

    def abandon(end: str, text: str) -> None:
        reports.append((end, text))

    with make_heartbeat(Database(), stall=0.2, abandon=abandon, exit_process=statuses.append):
        wait_for(lambda: statuses)
    assert statuses == [1]
    [(end, text)] = reports
    assert end == "stalled"
    first, *_ = text.split("\nThread ")[1:]
    assert first.startswith("MainThread:")
    assert "test_heartbeat.py" in first
    assert "Thread heartbeat" not in text


@pytest.mark.parametrize("end", ["drained", "cancelled"])
def test_a_thread_that_does_not_hear_that_it_must_stop_is_not_waited_for(
    monkeypatch: pytest.MonkeyPatch, end: str
) -> None:
    monkeypatch.setattr("worker.execution.heartbeat.UNHEARD_SECONDS", 1.5)
    ends: list[str] = []
    statuses: list[int] = []

    def abandon(end: str, text: str) -> None:
        ends.append(end)

    options = {"wanted": lambda: end, "abandon": abandon, "exit_process": statuses.append}
    with make_heartbeat(Database(), **options) as heartbeat:
        # Together longer than that; each far shorter, so that a busy machine makes none too long.
        for _ in range(16):
            time.sleep(0.1)
            heartbeat.progressed()
        assert ends == []
        wait_for(lambda: statuses)
    assert (ends, statuses) == ([end], [1])


def test_a_job_that_hangs_ends_its_process_also_when_its_lease_was_lost_before() -> None:
    database = Database()
    database.error = LostLease(1, 1)
    statuses: list[int] = []
    with make_heartbeat(database, stall=0.5, exit_process=statuses.append) as heartbeat:
        wait_for(lambda: heartbeat.lost)
        wait_for(lambda: statuses)
    assert statuses == [1]


def test_a_stall_that_cannot_be_recorded_ends_the_process_all_the_same() -> None:
    def abandon(end: str, text: str) -> None:
        raise ValueError(text)

    statuses: list[int] = []
    with make_heartbeat(Database(), stall=0.2, abandon=abandon, exit_process=statuses.append):
        wait_for(lambda: statuses)
    assert statuses == [1]


def test_a_job_that_moves_is_not_taken_for_one_that_hangs() -> None:
    statuses: list[int] = []
    with make_heartbeat(Database(), stall=1.5, exit_process=statuses.append) as heartbeat:
        for _ in range(16):
            time.sleep(0.1)
            heartbeat.progressed()
    assert statuses == []


def test_an_orphan_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    # Not 1: the tests themselves may be the children of process 1.
    parent = os.getppid()
    statuses: list[int] = []
    with make_heartbeat(Database(), exit_process=statuses.append):
        monkeypatch.setattr("worker.execution.heartbeat.os.getppid", lambda: parent + 1)
        wait_for(lambda: statuses)
    assert statuses == [1]


def test_an_orphan_ends_also_when_its_parent_died_before_the_job_was_acquired() -> None:
    statuses: list[int] = []
    with make_heartbeat(Database(), exit_process=statuses.append, parent=os.getppid() + 1):
        wait_for(lambda: statuses)
    assert statuses == [1]


def test_an_orphan_says_that_the_kernel_killed_a_process_for_its_memory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    counters = tmp_path / "vmstat"
    counters.write_text("oom_kill 7\n")
    monkeypatch.setattr(module, "OomKills", lambda: OomKills(counters))
    parent = os.getppid()
    ends: list[str] = []
    statuses: list[int] = []
    with make_heartbeat(
        Database(),
        exit_process=statuses.append,
        abandon=lambda end, text: ends.append(f"{end}: {text}"),
    ):
        counters.write_text("oom_kill 8\n")
        monkeypatch.setattr("worker.execution.heartbeat.os.getppid", lambda: parent + 1)
        wait_for(lambda: statuses)
    assert statuses == [1]
    assert ends == [
        f"lost: the worker's parent, process {parent}, is gone, and the kernel has just killed a process of this machine "
        "because it was short of memory"
    ]
