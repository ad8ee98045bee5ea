"""What tells, with the rights of the sweep, and a receiver of webhooks."""

from collections.abc import Iterator

import pytest
from sqlalchemy import Engine
from sqlalchemy.orm import Session, sessionmaker

from store.db.engine import make_engine, make_sessions
from tests.support.factories import (
    make_worker,
)
from tests.support.receiver import receiver  # noqa: F401 - a fixture
from tests.support.webhooks import LOOPBACK
from worker.sweep.notifier import Notifier
from worker.sweep.sending import Sender

Sessions = sessionmaker[Session]


@pytest.fixture(scope="module")
def worker_engine(worker_database_url: str) -> Iterator[Engine]:
    """As the sweep may use the database."""
    engine = make_engine(worker_database_url)
    yield engine
    engine.dispose()


@pytest.fixture
def own(sessions: Sessions, worker_engine: Engine) -> Sessions:
    """The sweep's sessions, on tables with a host of two slots."""
    with sessions.begin() as session:
        make_worker(session, cpu=2)
    return make_sessions(worker_engine)


@pytest.fixture
def notifier(own: Sessions) -> Iterator[Notifier]:
    # Nothing here answers slowly, but a machine may.
    notifier = Notifier(own, Sender(LOOPBACK, seconds=60.0), "http://normlab.example")
    yield notifier
    notifier.stop()
