"""Wakes workers after a commit, from a thread of its own. Knows no job.

A Redis that is down or hangs holds this thread and no request; the sweep sends what was lost.
"""

import threading

import structlog
from celery import Celery
from sqlalchemy.orm import Session, sessionmaker

from store import wakeups
from store.engine import DATABASE_AWAY

log = structlog.get_logger(__name__)


class Waker:
    """Sends the wake-ups that are due whenever it was told to since it last did."""

    def __init__(self, sessions: sessionmaker[Session], celery: Celery) -> None:
        self._sessions = sessions
        self._celery = celery
        self._told = threading.Event()
        self._is_closing = False
        self._thread = threading.Thread(target=self._run, name="waker", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def close(self) -> None:
        """Sends what is still due, for a moment at most."""
        self._is_closing = True
        self._told.set()
        self._thread.join(timeout=5)

    def wake(self) -> None:
        """To be called after the commit; returns at once."""
        self._told.set()

    def _run(self) -> None:
        while True:
            self._told.wait()
            self._told.clear()
            self._send()
            if self._is_closing and not self._told.is_set():
                return

    def _send(self) -> None:
        try:
            with self._sessions.begin() as session:
                due = wakeups.due(session)
            wakeups.send(self._celery, due)
        except DATABASE_AWAY as error:
            log.warning("no worker was woken: the database does not answer", error=str(error))
