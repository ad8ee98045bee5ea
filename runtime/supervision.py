"""What a helper process may use, and how it is known that it used more, ended or was killed, by the kernel for the
machine's memory too; and a wait for the end of processes.

HelperGone
├── Stopped
└── OverLimit
    ├── TooSlow
    ├── TooBig
    ├── Hung
    └── TimedOut
"""

import contextlib
import math
import os
import re
import select
import signal
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import psutil

#: Where the system doesn't tell of the end of a process.
_POLL_SECONDS = 0.25
#: While a helper works, its limits are looked at so often; what it says is read at once.
POLL_SECONDS = 0.1
_EXIT_SECONDS = 5.0
#: Counts the kernel's kills for memory of all control groups, also as seen from a container.
OOM_COUNTERS = Path("/proc/vmstat")
#: A victim is counted before it is gone, and to give back much memory takes a while.
_DYING_SECONDS = 10.0


class HelperGone(Exception):
    """The helper ended, or was ended, before it answered. The message is a predicate: "was killed by SIGKILL".

    `stderr`: the end of what it wrote there, where that is captured.
    """

    stderr: str = ""


class Stopped(HelperGone):
    """The helper was ended, or never started, because its parent is being stopped."""


class OverLimit(HelperGone):
    """The helper used more than it may, and was ended."""


class TooSlow(OverLimit):
    """The helper used more CPU time than its limit and was ended."""


class TooBig(OverLimit):
    """The helper grew beyond its limit and was ended."""


class Hung(OverLimit):
    """The helper neither answered nor used the CPU and was ended."""


class TimedOut(OverLimit):
    """The helper took longer than its limit, whatever it did, and was ended."""


@dataclass(frozen=True, slots=True)
class Limits:
    """Of one exchange: CPU time, time without any use of the CPU, resident memory, and time on the clock.

    On a busy machine a process works slowly, and to start it again would only take longer: where nobody waits,
    CPU time and idle time are the better limits.
    """

    cpu_seconds: float = math.inf
    idle_seconds: float = math.inf
    megabytes: float = math.inf
    wall_seconds: float = math.inf


class Watch:
    """What a process has used since it is watched."""

    def __init__(self, process: psutil.Process, limits: Limits) -> None:
        self._process = process
        self._limits = limits
        self._before = self._used = _cpu_seconds(process)
        self._began_at = self._moved_at = time.monotonic()

    @property
    def cpu_seconds(self) -> float:
        return self._used - self._before

    @property
    def has_ended(self) -> bool:
        """Whether the process has ended. What it has started may still hold its streams open."""
        try:
            return bool(self._process.status() == psutil.STATUS_ZOMBIE)
        except psutil.NoSuchProcess:
            return True

    def guard(self) -> None:
        """Raises `TooSlow`, `TooBig`, `Hung` or `TimedOut`."""
        limits, now = self._limits, time.monotonic()
        # Progress is use of the CPU, not time on the clock: on a machine that is busy with trainings a
        # healthy helper may need minutes for what takes it a second.
        if (used := _cpu_seconds(self._process)) > self._used:
            self._used, self._moved_at = used, now
        if self.cpu_seconds > limits.cpu_seconds:
            raise TooSlow(f"needed more than {limits.cpu_seconds:g} seconds of CPU time")
        if now - self._moved_at > limits.idle_seconds:
            raise Hung(f"did nothing for {limits.idle_seconds:g} seconds")
        if now - self._began_at > limits.wall_seconds:
            raise TimedOut(f"took longer than {limits.wall_seconds:g} seconds")
        # Resident memory is measured, not limited by `RLIMIT_AS`: torch's libraries reserve far more address
        # space than they use, and an allocation that fails inside of them looks like any other crash.
        if self._process.memory_info().rss > limits.megabytes * 2**20:
            raise TooBig(f"needed more than {limits.megabytes:g} MB")


@contextlib.contextmanager
def helper_errors() -> Iterator[None]:
    """What a dead process makes of reading from it, writing to it or looking at it becomes `HelperGone`."""
    try:
        yield
    except TimeoutError as error:
        raise Hung("did not take the request") from error
    except (OSError, ValueError, psutil.Error) as error:
        raise HelperGone(f"broke off: {error}") from error


def describe_exit(code: int | None) -> str:
    """A predicate; `code` as `subprocess` gives it: negative for a signal, None where it isn't known."""
    if code is None:
        return "ended"
    if code >= 0:
        return f"ended with {code}"
    if code == -signal.SIGKILL:
        return "was killed by SIGKILL, usually because the machine had too little memory"
    return f"was killed by {signal.Signals(-code).name}"


def wait_for_exit(process: psutil.Process) -> int | None:
    """The exit code of a process that has closed its end; None for another's child, or one that lives on."""
    try:
        code: int | None = process.wait(_EXIT_SECONDS)
    except psutil.Error:
        return None
    return code


def kill_group(process: psutil.Process) -> None:
    """Kills a process that leads a group, and whatever it started. Call it before, or right after, it is waited
    for: later the number may be another group's."""
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, signal.SIGKILL)


def count_oom_kills(counters: Path = OOM_COUNTERS) -> int:
    """Since the machine was started; 0 where the kernel doesn't tell."""
    try:
        found = re.search(r"^oom_kill (\d+)$", counters.read_text(), re.MULTILINE)
    except OSError:
        return 0
    return int(found[1]) if found else 0


class OomKills:
    """Tells a process that was killed for its memory from one that died otherwise; looked at again and again."""

    def __init__(self, counters: Path = OOM_COUNTERS) -> None:
        self._counters = counters
        self._count = count_oom_kills(counters)
        self._unexplained = 0
        self._risen_at = -math.inf

    def look(self) -> None:
        """The deaths of the next seconds may be those of what has been killed since the last look."""
        now, count = time.monotonic(), count_oom_kills(self._counters)
        if count > self._count:
            self._unexplained += count - self._count
            self._risen_at = now
        elif now - self._risen_at > _DYING_SECONDS:
            self._unexplained = 0
        self._count = count

    def explain_death(self) -> bool:
        """Whether a process that is gone since the last look was killed for its memory. Each kill explains one."""
        if self._unexplained == 0:
            return False
        self._unexplained -= 1
        return True


def _cpu_seconds(process: psutil.Process) -> float:
    times = process.cpu_times()
    return float(times.user + times.system)


@cache
def can_watch_processes() -> bool:
    """Whether the system tells of the end of any process: Linux since 5.3, unless a sandbox forbids it."""
    try:
        os.close(os.pidfd_open(os.getpid()))
    except (AttributeError, OSError):
        return False
    return True


class Alarm:
    """For one thread that waits; anyone may ring."""

    def __init__(self) -> None:
        self._reader, self._writer = os.pipe()
        os.set_blocking(self._writer, False)

    def ring(self) -> None:
        """Ends the wait, or the next one where none goes on. Safe inside a signal handler."""
        with contextlib.suppress(BlockingIOError):
            os.write(self._writer, b".")

    def wait(self, processes: Iterable[int], seconds: float) -> None:
        """Until one of the processes has ended, or so long."""
        if not can_watch_processes():
            processes, seconds = (), min(seconds, _POLL_SECONDS)
        with contextlib.ExitStack() as stack:
            poll = select.poll()
            poll.register(self._reader, select.POLLIN)
            for process in processes:
                try:
                    descriptor = os.pidfd_open(process)
                except ProcessLookupError:
                    return
                except OSError:  # No descriptor is left: looked at again soon.
                    seconds = min(seconds, _POLL_SECONDS)
                    continue
                stack.callback(os.close, descriptor)
                poll.register(descriptor, select.POLLIN)
            for descriptor, _ in poll.poll(max(0.0, seconds) * 1000):
                if descriptor == self._reader:
                    os.read(self._reader, 4096)
