"""Pages and figures of reports, drawn by a process each: matplotlib never comes into this one. Knows no HTTP
and no database.

A process that takes too long or grows too large is ended; few draw at once, and few wait for their turn.
"""

import contextlib
import os
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence

import psutil
import structlog

COMMAND = (sys.executable, "-m", "studies.drawing")
#: The machine's cores are for training.
AT_ONCE = 2
WAITING = 8
#: A client waits a minute in all.
WAIT_SECONDS = 20.0
POLL_SECONDS = 0.1

log = structlog.get_logger(__name__)


class DrawerBusy(Exception):
    """Too many want a drawing; come back after `retry_after` seconds."""

    retry_after = 5


class DrawingFailed(Exception):
    """The process that draws ended without a drawing, or was ended."""


class Drawer:
    """Safe for many threads."""

    def __init__(self, *, seconds: float, megabytes: int, command: Sequence[str] = COMMAND) -> None:
        self._seconds = seconds
        self._megabytes = megabytes
        self._command = command
        self._turns = threading.BoundedSemaphore(AT_ONCE)
        self._places = threading.BoundedSemaphore(AT_ONCE + WAITING)
        self._running: set[subprocess.Popen[bytes]] = set()
        self._is_closing = False

    def close(self) -> None:
        self._is_closing = True
        for process in list(self._running):
            process.kill()

    @contextlib.contextmanager
    def turn(self) -> Iterator[None]:
        """The right to draw; raises `DrawerBusy`."""
        if not self._places.acquire(blocking=False):
            raise DrawerBusy(f"{AT_ONCE + WAITING} reports are being drawn or wait for it")
        try:
            if not self._turns.acquire(timeout=WAIT_SECONDS):
                raise DrawerBusy("other reports are being drawn")
            try:
                yield
            finally:
                self._turns.release()
        finally:
            self._places.release()

    def draw(self, report: bytes, *wanted: str) -> bytes:
        """What `studies.drawing` makes of the report (`html`, or `figure` and its name); raises
        `DrawingFailed`. The caller has its turn."""
        # Through a file: `communicate` loses what is left of its input when it is called again.
        with tempfile.TemporaryFile() as question:
            question.write(report)
            question.seek(0)
            with subprocess.Popen(
                (*self._command, *wanted),
                stdin=question,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                env={**os.environ, "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"},
                # A Ctrl-C in the terminal is for this process, which ends its own.
                process_group=0,
            ) as process:
                self._running.add(process)
                try:
                    return self._answer_of(process)
                finally:
                    self._running.discard(process)
                    process.kill()

    def _answer_of(self, process: "subprocess.Popen[bytes]") -> bytes:
        deadline = time.monotonic() + self._seconds
        while not self._is_closing:
            try:
                answer, said = process.communicate(timeout=POLL_SECONDS)
            except subprocess.TimeoutExpired:
                self._guard(process, deadline)
                continue
            if process.returncode == 0:
                return answer
            log.error("a report was not drawn", said=said.decode(errors="replace")[-4000:])
            raise DrawingFailed(f"the process that draws ended with {process.returncode}")
        raise DrawingFailed("the service is being stopped")

    def _guard(self, process: "subprocess.Popen[bytes]", deadline: float) -> None:
        too_much = ""
        if time.monotonic() > deadline:
            too_much = f"drawing took longer than {self._seconds:g} seconds"
        with contextlib.suppress(psutil.Error):
            if psutil.Process(process.pid).memory_info().rss > self._megabytes * 2**20:
                too_much = f"drawing needed more than {self._megabytes} MB"
        if too_much:
            log.warning("a report was not drawn", why=too_much)
            raise DrawingFailed(too_much)
