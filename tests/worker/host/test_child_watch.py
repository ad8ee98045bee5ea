"""What the parent of a host's workers says at its start and again and again, and whom it wakes."""

import subprocess
import sys
import threading
from pathlib import Path

import pytest
from sqlalchemy.orm import Session, sessionmaker

from runtime.process import NO_TERMINATION
from runtime.supervision import OomKills
from store.db.models import Attempt, Job
from store.hosts import host_views
from tests.support.factories import acquire_job, make_job, make_worker
from tests.support.waiting import wait_for
from worker.__main__ import _register
from worker.execution.context import Drain
from worker.execution.space import Space
from worker.execution.standstill import stacks_file
from worker.host import child_watch
from worker.host.child_watch import ChildWatch, living_children
from worker.host.devices import HostDevice
from worker.host.host_lock import make_instance
from worker.host.host_report import HostReport
from worker.settings import Settings

Sessions = sessionmaker[Session]
FAR_TOO_MUCH = 10**18


def test_a_host_without_room_is_registered_as_one(sessions: Sessions, tmp_path: Path) -> None:
    instance = make_instance()
    devices = (HostDevice("cpu", 0, "a processor", 1),)
    for needed, takes_jobs in ((FAR_TOO_MUCH, False), (1, True)):
        report = HostReport("alpha", Space((tmp_path,), needed), instance.id)
        settings = Settings(database_url="", redis_url="", storage=tmp_path, host_name="alpha")
        _register(settings, sessions, instance, devices, None, report, NO_TERMINATION, None)
        with sessions.begin() as session:
            [worker] = host_views.workers_view(session)
        assert worker.claims == takes_jobs
        assert worker.clock_ahead_seconds == pytest.approx(0.0, abs=5.0)


def test_a_host_that_gets_room_is_woken_without_a_restart(
    sessions: Sessions, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(child_watch, "SEEN_SECONDS", 0.01)
    monkeypatch.setattr(child_watch, "LOOK_SECONDS", 0.01)
    with sessions.begin() as session:
        make_worker(session)
    report = HostReport("alpha", Space((tmp_path,), FAR_TOO_MUCH))
    woken = threading.Event()
    watch = ChildWatch(sessions, "alpha", Drain(), report, freed=woken.set)
    try:
        # Once at the start; whether the host gets anything is for SQL to say.
        assert woken.wait(60)
        woken.clear()
        monkeypatch.setattr(report, "_space", Space((tmp_path,), 1))
        assert woken.wait(60)
    finally:
        watch.stop()
    with sessions.begin() as session:
        assert host_views.workers_view(session)[0].claims


def test_children_are_looked_for_when_one_has_died_and_not_again_and_again(
    sessions: Sessions, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(child_watch, "SEEN_SECONDS", 0.02)
    looks: list[set[int]] = []

    def look() -> set[int]:
        # This process may have children of other tests.
        looks.append(living_children() & {child.pid})
        return looks[-1]

    monkeypatch.setattr(child_watch, "living_children", look)
    child = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    with sessions.begin() as session:
        make_worker(session)
    report = HostReport("alpha", Space((tmp_path,), 1))
    rounds = threading.Semaphore(0)
    monkeypatch.setattr(report, "send", lambda session: rounds.release())
    died = threading.Event()
    watch = ChildWatch(sessions, "alpha", Drain(), report, freed=died.set)
    try:
        for _ in range(4):
            assert rounds.acquire(timeout=60)
        assert looks == [{child.pid}]
        died.clear()
        child.kill()
        assert died.wait(60)
    finally:
        watch.stop()
        child.kill()
        child.wait()
        assert child.stdin is not None
        child.stdin.close()
    assert looks[1] == set()


@pytest.mark.parametrize("is_between", [False, True], ids=["after a look", "between two looks"])
@pytest.mark.parametrize(
    ("kills", "stacks", "end", "reason"),
    [(0, "", "lost", "error"), (1, "", "oom", "oom"), (0, "in hang", "stalled", "error")],
    ids=["died", "killed by the kernel", "ended itself"],
)
def test_an_attempt_says_of_its_dead_process_why_it_died(
    sessions: Sessions,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    kills: int,
    stacks: str,
    end: str,
    reason: str,
    is_between: bool,
) -> None:
    counters = tmp_path / "vmstat"
    counters.write_text("oom_kill 7\n")
    monkeypatch.setattr(child_watch, "OomKills", lambda: OomKills(counters))
    monkeypatch.setattr(child_watch, "SEEN_SECONDS", 0.02)
    child = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    looks = 0

    def kill() -> None:
        counters.write_text(f"oom_kill {7 + kills}\n")
        stacks_file(child.pid, None).write_text(stacks)
        child.kill()
        child.wait()

    def look() -> set[int]:
        nonlocal looks
        looks += 1
        # The second one of a round is for the attempts in SQL.
        if is_between and looks == 2:
            kill()
        # This process may have children of other tests.
        return living_children() & {child.pid}

    monkeypatch.setattr(child_watch, "living_children", look)
    with sessions.begin() as session:
        make_worker(session)
        job_id = make_job(session, resources={"max_attempts": 1}).id
        acquire_job(session)
        session.get_one(Attempt, (job_id, 1)).process = child.pid
    report = HostReport("alpha", Space((tmp_path,), 1))
    rounds = threading.Semaphore(0)
    monkeypatch.setattr(report, "send", lambda session: rounds.release())

    def has_ended() -> bool:
        with sessions.begin() as session:
            return session.get_one(Job, job_id).status == "failed"

    watch = ChildWatch(sessions, "alpha", Drain(), report, freed=lambda: None)
    try:
        assert rounds.acquire(timeout=60)
        if not is_between:
            kill()
        wait_for(has_ended, "the job's end")
    finally:
        watch.stop()
        child.kill()
        child.wait()
        assert child.stdin is not None
        child.stdin.close()
    with sessions.begin() as session:
        attempt = session.get_one(Attempt, (job_id, 1))
        job = session.get_one(Job, job_id)
    assert (attempt.end, attempt.counts) == (end, True)
    assert job.reason == reason
    assert f"process {child.pid} on alpha" in (job.error or "")
    assert stacks in (job.error or "")
    assert not stacks_file(child.pid, None).exists()
