"""Sends the wake-ups that are due, in a separate thread, so that a hanging broker delays no request.

The sweep sends what could not be sent here.
"""

import threading

import structlog
from celery import Celery
from sqlalchemy.orm import Session, sessionmaker

from store.db import DATABASE_AWAY
from store.jobs import wakeups

#: Between two rounds: submissions that come faster are looked at together.
PAUSE_SECONDS = 0.05

log = structlog.get_logger(__name__)


class Waker:
    """`wake` returns at once; what was asked for while one is being sent is sent together after it."""

    def __init__(self, sessions: sessionmaker[Session], celery: Celery) -> None:
        self._sessions = sessions
        self._celery = celery
        self._asked = threading.Event()
        self._closing = threading.Event()
        self._thread = threading.Thread(target=self._run, name="waker", daemon=True)
        self._thread.start()

    def wake(self) -> None:
        """Something became free or runnable: to be called after the commit."""
        self._asked.set()

    def close(self) -> None:
        """Sends what is still due, for a moment at most."""
        self._closing.set()
        self._asked.set()
        self._thread.join(timeout=5)

    def _run(self) -> None:
        while True:
            self._asked.wait()
            # Cleared before the rows are read: what is committed while they are read sets it again and gets a
            # round of its own. Cleared afterwards, such a wake-up would be lost until the next sweep.
            self._asked.clear()
            self._send()
            if self._closing.wait(PAUSE_SECONDS) and not self._asked.is_set():
                return

    def _send(self) -> None:
        try:
            with self._sessions.begin() as session:
                due = wakeups.due(session)
            if due:
                wakeups.send(self._celery, due)
        except Exception as error:  # This thread must outlive whatever it is.
            unforeseen = None if isinstance(error, DATABASE_AWAY) else error
            log.warning("wake-ups could not be sent", error=str(error), exc_info=unforeseen)
