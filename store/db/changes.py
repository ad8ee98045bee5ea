"""Changes of jobs as they are committed, heard over one connection by a thread of its own."""

import select
import socket
import threading
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from uuid import uuid4

import psycopg
import structlog
from sqlalchemy import Engine

from store.db.engine import DATABASE_AWAY, JOBS_CHANNEL

log = structlog.get_logger(__name__)

#: Changes that are remembered for those who were away for a moment.
REMEMBERED = 1000
_RETRY_SECONDS = 2.0
_TOGETHER_SECONDS = 0.05


@dataclass(frozen=True, slots=True)
class ChangedJobs:
    """What has changed since an earlier mark: these jobs; None: any may have. `mark` is where it ends."""

    mark: str
    jobs: frozenset[int] | None


class Changes:
    """Listens from `start` to `close`. Whoever wants to know keeps a mark, and nothing is kept for them."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._lock = threading.Lock()
        self._recent: deque[int | None] = deque(maxlen=REMEMBERED)
        self._count = 0
        # Marks of another process, or of before a restart, mean nothing here.
        self._name = uuid4().hex[:8]
        self._subscribers: set[Callable[[], object]] = set()
        self._ours, self._wake = socket.socketpair()
        self._is_closed = False
        self._thread = threading.Thread(target=self._run, name="changes", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def close(self) -> None:
        self._is_closed = True
        self._wake.send(b"x")
        self._thread.join()
        self._ours.close()
        self._wake.close()

    @contextmanager
    def subscribed(self, call: Callable[[], object]) -> Iterator[None]:
        """`call` is called by the listening thread after each change; it must return at once."""
        with self._lock:
            self._subscribers.add(call)
        try:
            yield
        finally:
            with self._lock:
                self._subscribers.discard(call)

    @property
    def mark(self) -> str:
        """Where the changes so far end."""
        with self._lock:
            return f"{self._name}-{self._count}"

    def since(self, mark: str | None = None) -> ChangedJobs | None:
        """None where nothing has changed; without a mark, or with one that means nothing here, only the present one."""
        with self._lock:
            now = f"{self._name}-{self._count}"
            if mark == now:
                return None
            name, _, number = (mark or "").partition("-")
            missed = self._count - int(number) if name == self._name and number.isdigit() else None
            if missed is None or not 0 <= missed <= len(self._recent):
                return ChangedJobs(now, None)
            # From its end, where few were missed: a list of all would be made for each of hundreds of pages.
            jobs = [self._recent[place] for place in range(-missed, 0)]
        return ChangedJobs(now, None if None in jobs else frozenset(one for one in jobs if one))

    def _run(self) -> None:
        while not self._is_closed:
            try:
                self._listen()
            except Exception as error:
                if not self._is_closed:
                    is_away = isinstance(error, (*DATABASE_AWAY, psycopg.Error))
                    log.warning("changes are not heard", error=str(error), exc_info=not is_away)
                    self._wait(_RETRY_SECONDS)

    def _listen(self) -> None:
        with self._engine.connect() as connection:
            connection.detach()
            driver = connection.connection.dbapi_connection
            assert isinstance(driver, psycopg.Connection)
            driver.autocommit = True
            driver.execute(f"LISTEN {JOBS_CHANNEL}")
            # What was announced before is lost.
            self._note([None])
            while not self._is_closed:
                self._wait(None, driver.fileno())
                notices = [one.payload for one in driver.notifies(timeout=0)]
                if notices:
                    self._note([int(one) if one.isdecimal() else None for one in notices])
                    # Many commits at once are one call of each subscriber.
                    self._wait(_TOGETHER_SECONDS)

    def _wait(self, seconds: float | None, *descriptors: int) -> None:
        """Until one of these can be read, `close` is called, or the time is over."""
        poll = select.poll()
        for descriptor in (self._ours.fileno(), *descriptors):
            poll.register(descriptor, select.POLLIN)
        poll.poll(None if seconds is None else 1000 * seconds)

    def _note(self, jobs: list[int | None]) -> None:
        with self._lock:
            self._recent.extend(jobs)
            self._count += len(jobs)
            subscribers = list(self._subscribers)
        for call in subscribers:
            # One whose event loop has ended must not keep the others from hearing.
            with suppress(RuntimeError):
                call()
