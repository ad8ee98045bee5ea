"""A wait ends with a process, at a ring or when its time is over."""

import subprocess
import sys
import threading
import time

from runtime.alarm import Alarm

LONG = 600.0


def test_the_end_of_a_process_ends_the_wait() -> None:
    process = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    threading.Timer(0.05, process.kill).start()
    Alarm().wait([process.pid], LONG)
    assert process.wait() < 0
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
