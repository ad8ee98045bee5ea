"""`python -m migrations.mlflow_database`: MLflow's role, and the database that belongs to it.

Nobody else may connect to it; its tables are MLflow's own business: the server makes and migrates them.
NORMLAB_DATABASE_URL is the owner's of our tables, NORMLAB_MLFLOW_DATABASE_PASSWORD the role's new password.
MLflow is the slowest to start and waits for this, so neither SQLAlchemy nor Alembic is imported.
"""

import os
import sys
from contextlib import suppress

from psycopg import Connection, OperationalError
from psycopg.errors import DuplicateDatabase, InsufficientPrivilege

from migrations.roles import (
    MLFLOW,
    PASSWORDS,
    cannot_connect,
    connect,
    ensure_role,
    execute,
    given_passwords,
    may_not,
)

DATABASE = "mlflow"


def prepare_mlflow(url: str, password: str) -> None:
    """Makes role and database, or gives the role what an earlier Normlab had made as the tables' owner.

    `url` is the owner's. Raises InsufficientPrivilege.
    """
    with connect(url) as connection:
        ensure_role(connection, MLFLOW, password)
        _become_member(connection)
        found = connection.execute("SELECT FROM pg_database WHERE datname = %s", [DATABASE])
        if found.fetchone() is None:
            _create_database(connection)
        execute(connection, "ALTER DATABASE {} OWNER TO {}", DATABASE, MLFLOW)
        execute(connection, "REVOKE ALL ON DATABASE {} FROM PUBLIC", DATABASE)
    with connect(url, dbname=DATABASE) as connection, connection.transaction():
        _give_tables(connection)


def _become_member(connection: Connection) -> None:
    """Who isn't superuser must be a member of the role that gets a database."""
    superuser = connection.execute("SELECT rolsuper FROM pg_roles WHERE rolname = current_user")
    if superuser.fetchone() == (False,):
        execute(connection, "GRANT {} TO CURRENT_USER", MLFLOW)


def _create_database(connection: Connection) -> None:
    # Another one may have made it in the same moment.
    with suppress(DuplicateDatabase):
        execute(connection, "CREATE DATABASE {} OWNER {}", DATABASE, MLFLOW)


def _give_tables(connection: Connection) -> None:
    """Sequences of a table's column go with their table."""
    query = """
        SELECT relname FROM pg_class
        WHERE relnamespace = 'public'::regnamespace AND relkind IN ('r', 'p', 'v', 'm', 'S')
          AND relowner <> %s::regrole
          AND NOT EXISTS (
            SELECT FROM pg_depend WHERE objid = pg_class.oid AND deptype IN ('a', 'i') AND relkind = 'S'
          )
    """
    for (name,) in connection.execute(query, [MLFLOW]).fetchall():
        execute(connection, "ALTER TABLE {} OWNER TO {}", name, MLFLOW)


def main() -> None:
    url, password = os.environ.get("NORMLAB_DATABASE_URL"), given_passwords().get(MLFLOW)
    if not url or not password:
        sys.exit(f"NORMLAB_DATABASE_URL and {PASSWORDS[MLFLOW]} must be set")
    try:
        prepare_mlflow(url, password)
    except InsufficientPrivilege as error:
        sys.exit(may_not(error, MLFLOW))
    except OperationalError as error:
        if error.sqlstate is not None:  # not from connecting
            raise
        sys.exit(cannot_connect(error))


if __name__ == "__main__":
    main()
