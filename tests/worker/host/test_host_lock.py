"""One worker per host name: refused in words, taken over once it is gone, taken again after a lost session."""

import os
import re
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from dataclasses import replace
from datetime import timedelta

import pytest
from sqlalchemy import func, select, text, update
from sqlalchemy.orm import Session, sessionmaker

from store.db.models import Worker
from store.hosts import host_names
from store.jobs import leases
from store.jobs.leases import Instance
from tests.support.waiting import PATIENCE_SECONDS, wait_for
from worker.host import host_lock
from worker.host.host_lock import HostName, make_instance

Sessions = sessionmaker[Session]
MakeName = Callable[..., HostName]

HERE = make_instance()
#: A worker on a cloned machine: the same name, processes that can't be seen from here.
CLONE = replace(HERE, id="clone", process=7, namespace="another boot pid:[1]")


@pytest.fixture(autouse=True)
def short_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(host_lock, "KEEP_SECONDS", 0.01)
    monkeypatch.setattr(host_lock, "RETRY_SECONDS", 0.01)


@pytest.fixture
def make_name(database_url: str) -> Iterator[MakeName]:
    names: list[HostName] = []

    def make(mine: Instance, name: str = "alpha") -> HostName:
        names.append(HostName(database_url, name, mine))
        return names[-1]

    yield make
    for name in names:
        name.release()


def register(sessions: Sessions, instance: Instance, **changes: object) -> None:
    with sessions.begin() as session:
        leases.register_worker(session, "alpha", instance.process, [("cpu", 0, "cpu", 1)], instance)
        if changes:
            session.execute(update(Worker).values(**changes))


def end_lock_sessions(sessions: Sessions) -> int:
    """As a restart of the server does; returns how many sessions held a host's name."""
    locks = (
        "SELECT pg_terminate_backend(pid) FROM pg_locks WHERE locktype = 'advisory' AND database = "
        "(SELECT oid FROM pg_database WHERE datname = current_database())"
    )
    with sessions.begin() as session:
        return len(session.execute(text(locks)).all())


def count_locks(sessions: Sessions) -> int:
    with sessions.begin() as session:
        held = text("SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND granted")
        return int(session.execute(held).scalar_one())


def test_a_second_worker_is_refused_with_who_has_the_name_and_what_to_do(
    sessions: Sessions, make_name: MakeName
) -> None:
    make_name(HERE).take(0)
    register(sessions, HERE)
    with pytest.raises(SystemExit) as refused:
        make_name(CLONE).take(0.05)
    words = str(refused.value)
    assert words.startswith("The host name 'alpha' is in use by another worker: ")
    assert f"process {HERE.process} on {HERE.machine}, since " in words
    # It has registered just now.
    seconds = re.search(r"last seen (\d+) s ago", words)
    assert seconds is not None
    assert int(seconds[1]) < PATIENCE_SECONDS
    assert (
        f"set NORMLAB_HOST_NAME to another name for this worker (process 7 on {CLONE.machine})"
        in (words)
    )


def test_a_worker_that_does_not_move_keeps_its_name(
    sessions: Sessions, make_name: MakeName
) -> None:
    make_name(HERE).take(0)
    # Stopped by a signal, say: silent for an hour, but its session lives.
    register(sessions, HERE, seen_at=func.now() - timedelta(hours=1))
    with pytest.raises(SystemExit, match=r"last seen 36\d\d s ago"):
        make_name(CLONE).take(0.05)


def test_a_name_is_free_once_its_worker_has_ended(sessions: Sessions, make_name: MakeName) -> None:
    first = make_name(HERE)
    assert first.take(0) is None
    register(sessions, HERE)
    with sessions.begin() as session:
        leases.worker_ended(session, "alpha", HERE.id)
    first.release()
    previous = make_name(CLONE).take(0)
    assert previous is not None
    assert previous.instance == HERE.id
    assert host_lock.is_gone(previous, CLONE)


#: Forks as a worker does; its child outlives it a little.
HOLDS_A_NAME = """
import os, sys, time
from worker.host.host_lock import HostName, make_instance
name = HostName(sys.argv[1], "alpha", make_instance())
name.take(0)
parent = os.getpid()
if os.fork() == 0:
    while os.getppid() == parent:
        time.sleep(0.01)
    time.sleep(0.5)
    os._exit(0)
print(parent, flush=True)
time.sleep(600)
"""


def test_the_name_of_a_killed_worker_is_free_once_its_children_have_ended(
    sessions: Sessions, make_name: MakeName, database_url: str
) -> None:
    # A process of its own: only the kernel can close a killed one's session.
    command = [sys.executable, "-c", HOLDS_A_NAME, database_url]
    worker = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert worker.stdout is not None
    process = int(worker.stdout.readline())
    # Its row says where its process can be seen: here.
    register(sessions, replace(HERE, id="killed", process=process))
    with pytest.raises(SystemExit):
        make_name(CLONE).take(0.05)
    worker.kill()
    worker.wait()
    assert count_locks(sessions) == 1, "its child still lives"
    previous = make_name(HERE).take(30)
    assert previous is not None
    assert host_lock.is_gone(previous, HERE)
    worker.stdout.close()


def test_a_lost_session_is_replaced_and_the_lock_taken_again(
    sessions: Sessions, make_name: MakeName
) -> None:
    name = make_name(HERE)
    name.take(0)
    register(sessions, HERE)
    taken = threading.Event()
    name.keep(taken.set)
    assert end_lock_sessions(sessions) == 1
    wait_for(lambda: count_locks(sessions) == 1)
    with pytest.raises(SystemExit):
        make_name(CLONE).take(0.05)
    assert not taken.is_set()


def test_a_newcomer_leaves_the_name_to_a_worker_that_has_just_lost_its_session(
    sessions: Sessions, make_name: MakeName
) -> None:
    name = make_name(HERE)
    name.take(0)
    register(sessions, HERE)
    end_lock_sessions(sessions)
    wait_for(lambda: count_locks(sessions) == 0)
    with pytest.raises(SystemExit, match="in use by another worker"):
        make_name(CLONE).take(0.05)
    name.keep(lambda: None)
    wait_for(lambda: count_locks(sessions) == 1)


def test_a_worker_whose_name_was_taken_meanwhile_is_told_once_and_leaves_the_lock(
    sessions: Sessions, make_name: MakeName
) -> None:
    name = make_name(HERE)
    name.take(0)
    register(sessions, HERE)
    # Cut off from the server for long: it was silent, and its session is gone.
    with sessions.begin() as session:
        session.execute(update(Worker).values(seen_at=func.now() - timedelta(hours=1)))
    end_lock_sessions(sessions)
    register(sessions, CLONE)
    told = threading.Semaphore(0)
    name.keep(told.release)
    assert told.acquire(timeout=30)
    wait_for(lambda: count_locks(sessions) == 0)
    assert not told.acquire(blocking=False)
    with sessions.begin() as session:
        assert session.scalars(select(Worker.instance)).one() == CLONE.id


def test_a_name_is_released_at_once_also_beside_children(
    sessions: Sessions, make_name: MakeName, monkeypatch: pytest.MonkeyPatch
) -> None:
    # So long that a busy machine is no reason to fail.
    monkeypatch.setattr(host_lock, "CHECK_SECONDS", 240.0)
    name = make_name(HERE)
    name.take(0)
    register(sessions, HERE)
    # As a child inherits it.
    inherited = name._stop_writer.dup()
    name.keep(lambda: None)
    began = time.monotonic()
    name.release()
    assert time.monotonic() - began < host_lock.CHECK_SECONDS / 4
    inherited.close()


def test_a_silent_worker_without_a_session_loses_its_name(
    sessions: Sessions, make_name: MakeName, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Any silence is long enough: the test's server has not been up for long either.
    monkeypatch.setattr(host_names, "SEEN_SECONDS", 0.0)
    register(sessions, HERE)
    previous = make_name(CLONE).take(0)
    assert previous is not None
    assert not host_lock.is_gone(previous, CLONE), "its leases decide"


def test_replicas_with_one_setting_get_numbers_and_a_freed_one_is_given_again(
    sessions: Sessions, make_name: MakeName
) -> None:
    replicas = [make_name(HERE, "alpha-{n}") for _ in range(3)]
    for replica in replicas:
        replica.take(0)
    assert [replica.host for replica in replicas] == ["alpha-1", "alpha-2", "alpha-3"]
    replicas[1].release()
    again = make_name(CLONE, "alpha-{n}")
    again.take(0)
    assert again.host == "alpha-2"


def test_a_replica_waits_for_a_number_whose_worker_may_come_back(
    sessions: Sessions, make_name: MakeName
) -> None:
    with sessions.begin() as session:
        leases.register_worker(session, "alpha-1", CLONE.process, [], CLONE)
    with pytest.raises(SystemExit, match="'alpha-1' is in use"):
        make_name(HERE, "alpha-{n}").take(0.05)


@pytest.mark.parametrize(
    ("process", "namespace", "is_gone"),
    [
        (HERE.process, HERE.namespace, True),
        (os.getppid(), HERE.namespace, False),
        (2**22 + 1, HERE.namespace, True),
        (2**22 + 1, CLONE.namespace, False),
    ],
    # Process ids differ between the processes of one test run.
    ids=["this process before", "a living process", "no process", "out of sight"],
)
def test_a_name_without_a_session_is_taken_at_once_where_its_process_is_seen_to_be_gone(
    sessions: Sessions, make_name: MakeName, process: int, namespace: str, is_gone: bool
) -> None:
    register(sessions, Instance("before", process, "alpha", namespace))
    with nullcontext() if is_gone else pytest.raises(SystemExit):
        make_name(HERE).take(0)
