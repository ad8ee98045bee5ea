"""Signs of activity of a starting process: its log grows, it uses the CPU, or it reads and writes."""

import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import TypeAlias

import psutil

from normlab.stack.logs import older_piece

#: A process without signs of activity for this long is considered hung.
IDLE_SECONDS = 300.0
_LOOK_SECONDS = 5.0
_IO_BYTES = 2**16

Signs: TypeAlias = tuple[int, float, int]


class Activity:
    """Watches one process with its children from now on."""

    def __init__(
        self,
        pid: int,
        log: Path,
        *,
        read_signs: Callable[[int, Path], Signs] | None = None,
        clock: Callable[[], float] | None = None,
    ) -> None:
        self._pid = pid
        self._log = log
        self._read_signs = read_signs or signs_of_work
        self._clock = clock or time.monotonic
        self._signs: Signs | None = None
        self._looked_at = self._moved_at = self._clock()

    def idle_seconds(self) -> float:
        """Time since the last sign of work; looks every five seconds at most."""
        now = self._clock()
        # Each look walks through all children of the process, which is not for free on a busy machine.
        if self._signs is None or now - self._looked_at >= _LOOK_SECONDS:
            self._looked_at = now
            signs = self._read_signs(self._pid, self._log)
            if signs != self._signs:
                self._signs, self._moved_at = signs, now
        return now - self._moved_at

    def note(self) -> None:
        """A sign that only the caller can see, such as an answer from its port."""
        self._moved_at = self._clock()


def signs_of_work(pid: int, log: Path) -> Signs:
    """Bytes of the log, tenths of a second of CPU, blocks read and written: any change is work."""
    size, seconds, moved = 0, 0.0, 0
    with suppress(OSError):
        size = log.stat().st_size
    with suppress(psutil.Error):
        process = psutil.Process(pid)
        for member in (process, *process.children(recursive=True)):
            with suppress(psutil.Error):
                # With the children's time that was already waited for (the third and fourth): a short-lived child
                # is work, too.
                seconds += sum(member.cpu_times()[:4])
                # Not every system counts them.
                if hasattr(member, "io_counters"):
                    counters = member.io_counters()
                    moved += counters.read_bytes + counters.write_bytes
    # Coarse on purpose: a process that only waits still uses a few milliseconds and reads a few bytes now and
    # then, and must count as idle.
    return size, round(seconds, 1), moved // _IO_BYTES


def last_line(log: Path) -> str:
    """The last line of a log that says something, cut to fit a terminal."""
    with suppress(OSError), log.open("rb") as file:
        file.seek(max(0, log.stat().st_size - 4096))
        lines = file.read().decode(errors="replace").split("\n")
        return next((line.strip()[:120] for line in reversed(lines) if line.strip()), "")
    return ""


def last_lines(log: Path, count: int = 20) -> str:
    """With those of the piece before where the log was emptied only just now."""
    lines = _lines(log)
    if len(lines) < count:
        lines = _lines(older_piece(log, 1)) + lines
    return "\n".join([f"the last lines of {log}:", *(f"  {line}" for line in lines[-count:])])


def _lines(log: Path) -> list[str]:
    try:
        return log.read_text(errors="replace").splitlines()
    except OSError:
        return []
