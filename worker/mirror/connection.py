"""The connection of the one mirror that works: it holds the advisory lock and hears of changes."""

import select
import time
from collections.abc import Iterator
from contextlib import contextmanager

import psycopg
import structlog
from sqlalchemy import Connection, text
from sqlalchemy.orm import Session

from runtime.termination import NO_TERMINATION, Termination
from store.db import JOBS_CHANNEL, make_engine
from store.mlflow import mirror

log = structlog.get_logger("worker.mirror")

#: How often a mirror that stands by tries to get the lock.
LOCK_RETRY_SECONDS = 2.0
#: A pass comes at least so often, should a notification be lost.
TIMER_SECONDS = 5.0


@contextmanager
def locked_connection(
    database_url: str, termination: Termination = NO_TERMINATION
) -> Iterator[Connection]:
    """The one mirror's connection; waits while another mirror lives."""
    engine = make_engine(database_url, pool_size=1)
    try:
        with engine.connect() as connection:
            # Closed when we are done with it, never given back to a pool with the lock still held.
            connection.detach()
            if not _has_lock(connection):
                log.info("mirror_stands_by")
                while not _has_lock(connection):
                    termination.check()
                    time.sleep(LOCK_RETRY_SECONDS)
            log.info("mirror_works")
            yield connection
    finally:
        engine.dispose()


def _has_lock(connection: Connection) -> bool:
    """Takes the lock if it is free, and listens from then on."""
    with Session(connection) as session, session.begin():
        taken = mirror.try_lock(session)
        if taken:
            session.execute(text(f"LISTEN {JOBS_CHANNEL}"))
    return taken


def wait_for_change(connection: Connection) -> None:
    """Returns when jobs have changed or the timer has run out."""
    # Not driver_connection: that is None once the connection is detached.
    driver = connection.connection.dbapi_connection
    assert isinstance(driver, psycopg.Connection)
    # psycopg itself would wake ten times a second; what it has read already, it keeps for `notifies`.
    if not any(driver.notifies(timeout=0, stop_after=1)):
        select.select([driver], (), (), TIMER_SECONDS)
        for _ in driver.notifies(timeout=0):
            pass
