"""How Alembic reaches the database: one migration at a time, and none that waits long for a lock."""

import os

from alembic import context
from sqlalchemy import Connection, text

from store.db import Table, make_engine

#: Held while migrating, by everybody who does: the key of an advisory lock.
MIGRATION_LOCK = 0x6E6C_0002


def migrate() -> None:
    """Run what the caller asked for, in one transaction."""
    url = context.config.attributes.get("url") or os.environ["NORMLAB_DATABASE_URL"]
    engine = make_engine(url)
    try:
        with engine.connect() as connection:
            _wait_for_others(connection)
            _run(connection)
    finally:
        # Closing the connection also gives the lock back.
        engine.dispose()


def _wait_for_others(connection: Connection) -> None:
    connection.execute(text("SET lock_timeout = 0"))
    connection.execute(text("SET idle_in_transaction_session_timeout = 0"))
    connection.execute(text("SELECT pg_advisory_lock(:key)"), {"key": MIGRATION_LOCK})
    # A migration that waits for a table would make everybody else wait behind it.
    connection.execute(text("SET lock_timeout = '5s'"))
    connection.commit()


def _run(connection: Connection) -> None:
    context.configure(
        connection=connection,
        target_metadata=Table.metadata,
        compare_type=True,
        compare_server_default=True,
    )
    with context.begin_transaction():
        context.run_migrations()


if context.is_offline_mode():
    raise SystemExit("Normlab's migrations run against a database, not to a script")
migrate()
