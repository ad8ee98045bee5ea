"""A wait ends with a process, at a ring or when its time is over."""

import errno
import os
import signal
import subprocess
import sys
import threading
import time

import pytest

from runtime import supervision
from runtime.supervision import Alarm, can_watch_processes

#: Beyond the limit of a test: what is not heard fails it.
LONG = 3600.0


def test_the_end_of_a_process_ends_the_wait() -> None:
    process = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    # Later than a look would come that nothing asked for.
    threading.Timer(0.5, process.kill).start()
    Alarm().wait([process.pid], LONG)
    assert process.poll() == -signal.SIGKILL or not can_watch_processes()
    assert process.wait() == -signal.SIGKILL
    # And one that is gone already lets nobody wait.
    Alarm().wait([process.pid], LONG)
    assert process.stdin is not None
    process.stdin.close()


def test_a_ring_ends_this_wait_or_the_next_but_only_one() -> None:
    alarm = Alarm()
    threading.Timer(0.05, alarm.ring).start()
    alarm.wait([], LONG)
    alarm.ring()
    alarm.ring()
    alarm.wait([], LONG)
    began = time.monotonic()
    alarm.wait([], 0.05)
    assert time.monotonic() - began >= 0.05


@pytest.mark.parametrize("error", [errno.ENOSYS, errno.EPERM, errno.EMFILE])
def test_where_the_end_of_a_process_cannot_be_heard_it_is_looked_for(
    error: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(process: int) -> int:
        raise OSError(error, os.strerror(error))

    monkeypatch.setattr(os, "pidfd_open", refuse)
    supervision.can_watch_processes.cache_clear()
    try:
        began = time.monotonic()
        Alarm().wait([os.getpid()], LONG)
        assert time.monotonic() - began < LONG / 60
    finally:
        supervision.can_watch_processes.cache_clear()
