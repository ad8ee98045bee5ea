"""Brings a database's tables to the present, from Python."""

from pathlib import Path

from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection

_FOLDER = Path(__file__).parent


def make_config(url: str | None = None) -> Config:
    """Alembic's configuration for a database; None: that of NORMLAB_DATABASE_URL."""
    config = Config(_FOLDER / "alembic.ini")
    config.attributes["url"] = url
    return config


def upgrade(url: str, revision: str = "head") -> None:
    """Migrate up; waits for another process that is migrating, and harmless when all is done."""
    command.upgrade(make_config(url), revision)


def downgrade(url: str, revision: str = "base") -> None:
    """Migrate down: tables and what is in them go away."""
    command.downgrade(make_config(url), revision)


def is_current(connection: Connection) -> bool:
    """Whether the database has the tables that this code expects."""
    head = ScriptDirectory.from_config(make_config()).get_current_head()
    return MigrationContext.configure(connection).get_current_revision() == head
