"""Brings a database's tables to the present, from Python.

Alembic is imported only to migrate: at most starts, the tables are those of this code already.
"""

from pathlib import Path
from typing import TYPE_CHECKING

from sqlalchemy import Connection, text

from store.db import make_engine

if TYPE_CHECKING:
    from alembic.config import Config

_FOLDER = Path(__file__).parent


def make_config(url: str | None = None) -> "Config":
    """Alembic's configuration for a database; None: that of NORMLAB_DATABASE_URL."""
    from alembic.config import Config

    config = Config(_FOLDER / "alembic.ini")
    config.attributes["url"] = url
    return config


def upgrade(url: str, revision: str = "head") -> None:
    """Migrate up; waits for another process that is migrating, and harmless when all is done."""
    if revision == "head" and _has_all(url):
        return
    from alembic import command

    command.upgrade(make_config(url), revision)


def downgrade(url: str, revision: str = "base") -> None:
    """Migrate down: tables and what is in them go away."""
    from alembic import command

    command.downgrade(make_config(url), revision)


def is_current(connection: Connection) -> bool:
    """Whether the database has the tables that this code expects."""
    table = connection.scalar(text("SELECT to_regclass('alembic_version')"))
    if table is None:
        return False
    return connection.scalars(text("SELECT version_num FROM alembic_version")).all() == [head()]


def head() -> str:
    """The newest migration: their files begin with their numbers."""
    return max(path.name.partition("_")[0] for path in (_FOLDER / "versions").glob("[0-9]*.py"))


def _has_all(url: str) -> bool:
    engine = make_engine(url, pool_size=1)
    try:
        with engine.connect() as connection:
            return is_current(connection)
    finally:
        engine.dispose()
