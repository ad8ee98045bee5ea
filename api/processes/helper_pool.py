"""The helpers that answer a queue's questions: a thread each, and a thread that keeps their server running."""

import threading
from collections.abc import Callable, Sequence
from contextlib import closing, suppress

import structlog

from api.processes.check_queue import CheckQueue
from runtime.helper_process import HelperProcess
from runtime.helper_server import HelperServer
from runtime.supervision import HelperGone, Limits

SHORTEST_PAUSE_SECONDS = 0.5
LONGEST_PAUSE_SECONDS = 30.0

log = structlog.get_logger(__name__)


class HelperPool:
    """So many helpers, forked as soon as there is a server; each shares most of its memory with it."""

    def __init__(
        self,
        queue: CheckQueue,
        command: Sequence[str],
        limits: Limits,
        *,
        start_seconds: float,
        helpers: int,
        before_start: Callable[[], None],
    ) -> None:
        """`before_start` is called before each start of the server."""
        self._queue = queue
        self._command = command
        self._limits = limits
        self._start_seconds = start_seconds
        self._before_start = before_start
        self._server: HelperServer | None = None
        self._helpers: set[HelperProcess] = set()
        self._is_warm = False
        self._is_closing = False
        self._changed = threading.Condition()
        self._threads = [threading.Thread(target=self._supervise, name="checker", daemon=True)]
        self._threads += [
            threading.Thread(target=self._work, name=f"checker-{number}", daemon=True)
            for number in range(helpers)
        ]

    def start(self) -> None:
        for thread in self._threads:
            thread.start()

    def close(self) -> None:
        """The queue must be closed."""
        with self._changed:
            self._is_closing = True
            # They first: with their server gone, no process would collect them.
            for process in (*self._helpers, self._server):
                if process is not None:
                    process.kill()
            self._changed.notify_all()
        for thread in self._threads:
            thread.join()

    @property
    def is_ready(self) -> bool:
        """Whether a helper can be forked at once."""
        return self._is_warm

    @property
    def pids(self) -> list[int]:
        with self._changed:
            return [helper.pid for helper in self._helpers]

    def _work(self) -> None:
        """The life of a thread that has one helper after the other."""
        helper: HelperProcess | None = None
        while self._wait_until_warm():
            # Before there is a question: nobody waits for it then, and what the last one held is free.
            with suppress(HelperGone):
                helper = self._fresh(helper)
            if (work := self._queue.take()) is None:
                break
            try:
                helper = self._fresh(helper)
                value = work.read(helper.exchange({"id": 1, **work.question}, self._limits))
            except HelperGone as error:
                log.warning("the helper that checks specs is gone", why=str(error))
                self._queue.finish(work, error=error)
            except Exception as error:  # an answer that can't be read is not a yes
                self._queue.finish(work, error=error)
            else:
                self._queue.finish(work, value)
        if helper is not None:
            self._end(helper)

    def _fresh(self, helper: HelperProcess | None) -> HelperProcess:
        if helper is not None:
            if helper.is_fresh:
                return helper
            self._end(helper)
        server = self._server
        if server is None:
            raise HelperGone("is still starting")
        helper = server.fork()
        with self._changed:
            self._helpers.add(helper)
            if self._is_closing:
                helper.kill()
        return helper

    def _end(self, helper: HelperProcess) -> None:
        helper.close()
        with self._changed:
            self._helpers.discard(helper)

    def _wait_until_warm(self) -> bool:
        """False when the process ends."""
        with self._changed:
            self._changed.wait_for(lambda: self._is_warm or self._is_closing)
            return not self._is_closing

    def _supervise(self) -> None:
        pause = SHORTEST_PAUSE_SECONDS
        while not self._is_closing:
            try:
                self._run_server()
                pause = SHORTEST_PAUSE_SECONDS
            except (HelperGone, OSError):
                log.exception("the helper that checks specs did not start")
                pause = min(pause * 2, LONGEST_PAUSE_SECONDS)
            with self._changed:
                self._is_warm = False
                self._queue.pause()
                self._changed.wait_for(lambda: self._is_closing, pause)

    def _run_server(self) -> None:
        """From the server's start to its end."""
        with self._changed:
            if self._is_closing:
                return
            self._before_start()
            self._server = server = HelperServer(
                self._command,
                idle_seconds=self._start_seconds,
                megabytes=self._limits.megabytes,
            )
        with closing(server):
            server.wait_until_ready()
            with self._changed:
                # Not before: the server's first line is {ready}, and a fork that was asked for earlier would
                # take it for its answer.
                self._is_warm = True
                self._queue.resume()
                self._changed.notify_all()
            server.wait()
