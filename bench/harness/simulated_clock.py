"""A clock of PostgreSQL that stands still until it is moved, so that hours of a queue pass in seconds.

The functions that ask for the time are found in a schema that stands before PostgreSQL's own: whatever the store asks
gets the simulated time. Columns that fill themselves keep the real one.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from sqlalchemy import Engine, event, text
from sqlalchemy.orm import Session

from store.db.engine import make_engine

_FUNCTIONS = ("clock_timestamp", "statement_timestamp", "transaction_timestamp", "now")
_MADE = """
CREATE SCHEMA IF NOT EXISTS simulated;
GRANT USAGE ON SCHEMA simulated TO PUBLIC;
"""
_FUNCTION = """
CREATE OR REPLACE FUNCTION simulated.{name}() RETURNS timestamptz LANGUAGE sql STABLE
AS $$ SELECT to_timestamp(current_setting('simulated.seconds')::float8) $$;
"""


@contextmanager
def simulated_clock(url: str, start: float) -> Iterator[Engine]:
    """An engine of one connection, on which it is `start` (seconds since 1970) until `set_clock`."""
    engine = make_engine(url, pool_size=1)

    @event.listens_for(engine, "connect")
    def connected(connection: Any, record: Any) -> None:
        connection.execute("SET search_path = simulated, pg_catalog, public")
        connection.execute(f"SET simulated.seconds = '{start}'")
        connection.commit()

    real = make_engine(url, pool_size=1)
    try:
        with real.begin() as made:
            made.execute(text(_MADE + "".join(_FUNCTION.format(name=one) for one in _FUNCTIONS)))
        yield engine
    finally:
        engine.dispose()
        with real.begin() as made:
            made.execute(text("DROP SCHEMA simulated CASCADE"))
        real.dispose()


def set_clock(session: Session, seconds: float) -> None:
    """From the next statement on, also of later transactions."""
    session.execute(
        text("SELECT set_config('simulated.seconds', :now, false)"), {"now": str(seconds)}
    )
