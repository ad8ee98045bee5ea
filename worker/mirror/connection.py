"""The connection of the one mirror that works: it holds the advisory lock and hears of changes."""

import select
import time
from collections.abc import Iterator
from contextlib import contextmanager

import psycopg
import structlog
from sqlalchemy import Connection, text
from sqlalchemy.orm import Session

from runtime.process import NO_TERMINATION, Termination
from store.db import JOBS_CHANNEL, make_engine
from store.mlflow import mirror

log = structlog.get_logger("worker.mirror")

#: How often a mirror that stands by tries to get the lock.
LOCK_RETRY_SECONDS = 2.0


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


def wait_for_changes(connection: Connection, seconds: float) -> set[int] | None:
    """The jobs that have changed since the last call; empty when that takes longer, None when it may be any."""
    # Not driver_connection: that is None once the connection is detached.
    driver = connection.connection.dbapi_connection
    assert isinstance(driver, psycopg.Connection)
    notices = list(driver.notifies(timeout=0))
    if not notices:
        # psycopg itself would wake ten times a second; what it has read already, it keeps for `notifies`.
        select.select([driver], (), (), seconds)
        notices = list(driver.notifies(timeout=0))
    # An announcement without a job is about a study, or about many jobs.
    payloads = [one.payload for one in notices]
    return {int(one) for one in payloads} if all(payloads) else None
