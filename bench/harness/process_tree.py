"""CPU time and memory of everything that this process has started, daemons and dead children included.

Linux only. This process becomes a *subreaper* (prctl(2)): a descendant whose parent ends becomes our child,
so that a daemon in a session of its own stays in our tree. The kernel adds a process's CPU time to that of
the parent that waits for it, so the sum over the living, each with its waited-for children, and what we have
waited for ourselves is the time of all that ever ran. Only a child whose parent ignores SIGCHLD is lost.
"""

import ctypes
import os
import resource
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

import psutil

_PR_SET_CHILD_SUBREAPER = 36
_TICKS = os.sysconf("SC_CLK_TCK")
#: Reading a process's memory stops it for a moment: sampling takes at most this share of one core.
_SAMPLING_SHARE = 0.01
_SHORTEST_PAUSE = 0.25
_REAPING_SECONDS = 0.5


def adopt_orphans() -> None:
    """From now on, descendants that lose their parent become children of this process, and are waited for."""
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) != 0:
        raise OSError(ctypes.get_errno(), "prctl(PR_SET_CHILD_SUBREAPER) failed")
    threading.Thread(target=_reap_orphans, daemon=True).start()


def _reap_orphans() -> None:
    """A dead process that nobody waits for looks alive to a stack that stops."""
    seen: set[int] = set()
    while True:
        time.sleep(_REAPING_SECONDS)
        dead = {pid for pid in _children() if _is_zombie(pid)}
        # What `subprocess` started is left to it: it waits at once, so that only orphans are seen twice.
        for pid in dead & seen:
            with suppress(ChildProcessError):
                os.waitpid(pid, os.WNOHANG)
        seen = dead


def _children() -> Iterator[int]:
    for path in Path("/proc/self/task").glob("*/children"):
        with suppress(OSError):
            yield from map(int, path.read_text().split())


def _is_zombie(pid: int) -> bool:
    with suppress(OSError):
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    return False


def cpu_seconds() -> float:
    """Of all descendants since this process began, without this process itself."""
    for _ in range(3):
        before = _descendants()
        waited = resource.getrusage(resource.RUSAGE_CHILDREN)
        total = waited.ru_utime + waited.ru_stime + sum(map(_cpu_seconds_of, before))
        # A child that ended meanwhile may be missing or be counted twice: then all are read again.
        if _descendants() == before:
            break
    return total


def kill_descendants() -> None:
    """At once, so that whoever waits for one of them goes on, and fails."""
    for process in psutil.Process().children(recursive=True):
        with suppress(psutil.NoSuchProcess):
            process.kill()


@contextmanager
def limit_time(seconds: float) -> Iterator[None]:
    """At the limit all descendants are killed."""
    timer = threading.Timer(seconds, kill_descendants)
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()


def pss_bytes() -> int:
    """Proportional set size of all descendants: pages that several share count once."""
    return sum(map(_pss_of, _descendants()))


def _descendants() -> list[int]:
    return sorted(process.pid for process in psutil.Process().children(recursive=True))


def _cpu_seconds_of(pid: int) -> float:
    """Own time and that of waited-for children; of a zombie, too, which still has both."""
    with suppress(OSError):
        # The command's name, in parentheses, may hold spaces and parentheses.
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        return sum(map(int, fields[11:15])) / _TICKS
    return 0.0


def _pss_of(pid: int) -> int:
    with suppress(OSError):
        for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
            if line.startswith("Pss:"):
                return 1024 * int(line.split()[1])
    return 0


@dataclass(slots=True)
class MemoryWatch:
    """The highest sum that was sampled; a peak between two samples is not seen."""

    peak_bytes: int = 0
    samples: int = 0
    _ended: threading.Event = field(default_factory=threading.Event)

    @contextmanager
    def watching(self) -> Iterator["MemoryWatch"]:
        thread = threading.Thread(target=self._sample, daemon=True)
        thread.start()
        try:
            yield self
        finally:
            self._ended.set()
            thread.join()

    def _sample(self) -> None:
        pause = _SHORTEST_PAUSE
        while not self._ended.wait(pause):
            began = time.thread_time()
            self.peak_bytes = max(self.peak_bytes, pss_bytes())
            self.samples += 1
            pause = max(_SHORTEST_PAUSE, (time.thread_time() - began) / _SAMPLING_SHARE)
