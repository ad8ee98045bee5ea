"""What SQL announces, heard by a test."""

from collections.abc import Iterator
from contextlib import contextmanager

from psycopg import Connection
from sqlalchemy import text
from sqlalchemy.orm import Session, sessionmaker


@contextmanager
def hear_of_jobs(sessions: sessionmaker[Session]) -> Iterator[Connection]:
    """A connection that hears of changes of jobs from now on."""
    with sessions.kw["bind"].connect() as connection:
        driver = connection.connection.driver_connection
        # Not back to the pool, where it would go on to hear what other tests announce.
        connection.detach()
        connection.execute(text("LISTEN normlab_jobs"))
        connection.commit()
        yield driver
