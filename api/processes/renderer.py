"""Pages and figures, drawn by a process each: matplotlib never comes into this one.

A process that takes too long or grows too large is ended; few draw at once, and few wait for their turn. Nobody
has to wait for a drawing: it goes on, and whoever asks for it again joins it.
"""

import contextlib
import os
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import CancelledError, Future, ThreadPoolExecutor

import psutil
import structlog

COMMAND = (sys.executable, "-m", "studies.figures")
#: The machine's cores are for training.
AT_ONCE = 2
WAITING = 8
#: Finished drawings that nobody has fetched yet.
MOST_FINISHED = 8
POLL_SECONDS = 0.1

log = structlog.get_logger(__name__)


class DrawerBusy(Exception):
    """Too many want a drawing; come back after `retry_after` seconds."""

    retry_after = 5


class DrawingFailed(Exception):
    """The process that draws ended without a drawing, or was ended."""


class Pending:
    """A drawing that is being made or waits for its turn."""

    def __init__(self, future: "Future[bytes]") -> None:
        self._future = future
        self._began = time.monotonic()

    @property
    def seconds(self) -> float:
        """Since it was asked for."""
        return time.monotonic() - self._began

    @property
    def is_done(self) -> bool:
        return self._future.done()

    def wait(self, seconds: float) -> bytes | None:
        """None if it isn't done by then; raises `DrawingFailed`."""
        try:
            return self._future.result(timeout=seconds)
        except TimeoutError:
            return None
        except CancelledError:
            raise DrawingFailed("the service is being stopped") from None


class Drawer:
    """Safe for many threads."""

    def __init__(self, *, seconds: float, megabytes: int, command: Sequence[str] = COMMAND) -> None:
        self._seconds = seconds
        self._megabytes = megabytes
        self._command = command
        self._lock = threading.Lock()
        self._threads = ThreadPoolExecutor(AT_ONCE, thread_name_prefix="drawing")
        self._pending: dict[str, Pending] = {}
        self._running: set[subprocess.Popen[bytes]] = set()
        self._is_closing = False

    def close(self) -> None:
        self._is_closing = True
        for process in list(self._running):
            process.kill()
        self._threads.shutdown(cancel_futures=True)

    def start(self, name: str, make: Callable[[], bytes]) -> Pending:
        """Has `make` called in a thread, or joins the drawing of this name; raises `DrawerBusy`."""
        with self._lock:
            if (pending := self._pending.get(name)) is not None:
                return pending
            if sum(not one.is_done for one in self._pending.values()) >= AT_ONCE + WAITING:
                raise DrawerBusy(f"{AT_ONCE + WAITING} drawings are being made or wait for it")
            self._forget_oldest()
            pending = self._pending[name] = Pending(self._threads.submit(make))
            return pending

    def find(self, name: str) -> Pending | None:
        """The drawing of this name, if it was asked for and not fetched since."""
        with self._lock:
            return self._pending.get(name)

    def forget(self, name: str) -> None:
        """Somebody has what came of it; asked for again, it is drawn again."""
        with self._lock:
            self._pending.pop(name, None)

    def _forget_oldest(self) -> None:
        done = [name for name, one in self._pending.items() if one.is_done]
        for name in done[: max(0, len(done) - MOST_FINISHED + 1)]:
            del self._pending[name]

    def draw(self, content: bytes, *wanted: str) -> bytes:
        """What `studies.figures` makes of the content, as its arguments say; raises `DrawingFailed`. Takes
        as long as it takes: for `start`."""
        # Through a file: `communicate` loses what is left of its input when it is called again.
        with tempfile.TemporaryFile() as question:
            question.write(content)
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
            if self._is_closing:  # `close` has ended it
                break
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
