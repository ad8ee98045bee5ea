"""Sends the wake-ups that are due, from a thread of its own: a hanging broker holds nobody up."""

import threading

import structlog
from celery import Celery
from sqlalchemy.orm import Session, sessionmaker

from store import wakeups
from store.engine import DATABASE_AWAY

log = structlog.get_logger(__name__)


class Waker:
    """`wake` returns at once; what was asked for while one is being sent is sent together after it."""

    def __init__(self, sessions: sessionmaker[Session], celery: Celery) -> None:
        self._sessions = sessions
        self._celery = celery
        self._asked = threading.Event()
        self._thread = threading.Thread(target=self._run, name="waker", daemon=True)
        self._thread.start()

    def wake(self) -> None:
        """Something became free or claimable."""
        self._asked.set()

    def _run(self) -> None:
        while True:
            self._asked.wait()
            self._asked.clear()
            try:
                with self._sessions.begin() as session:
                    due = wakeups.due(session)
            except Exception as error:  # The sweep sends what was not sent here.
                unforeseen = None if isinstance(error, DATABASE_AWAY) else error
                log.warning("no wake-up is sent", error=str(error), exc_info=unforeseen)
                continue
            if due:
                wakeups.send(self._celery, due)
