"""The roles that Normlab's processes log in with. The tables' owner, who migrates, is nobody else.

A role is made only by who may make roles (CREATEROLE); where they are missing, everything runs as the owner.
"""

import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import psycopg
from psycopg import Connection, sql
from psycopg.errors import DuplicateObject, InsufficientPrivilege, UniqueViolation

API = "normlab_api"
WORKER = "normlab_worker"
MLFLOW = "normlab_mlflow"
#: MLflow's server asks as this one whose token a request carries; the tables of MLflow are nothing to it.
ACCESS = "normlab_access"
READER = "normlab_reader"

#: The variables that hold the passwords; a role without one can't log in.
PASSWORDS = {
    API: "NORMLAB_API_DATABASE_PASSWORD",
    WORKER: "NORMLAB_WORKER_DATABASE_PASSWORD",
    MLFLOW: "NORMLAB_MLFLOW_DATABASE_PASSWORD",
    ACCESS: "NORMLAB_ACCESS_DATABASE_PASSWORD",
}


def given_passwords() -> dict[str, str]:
    """By role, those that are set."""
    given = {role: os.environ.get(variable) for role, variable in PASSWORDS.items()}
    return {role: password for role, password in given.items() if password}


@contextmanager
def connect(url: str, **changes: Any) -> Iterator[Connection]:
    """By SQLAlchemy's URL, whatever driver it names; `changes` replace parts, such as `dbname`.

    Each statement is a transaction of its own, other than in `connection.transaction()`.
    """
    address = re.sub(r"^postgres(ql)?(\+\w+)?://", "postgresql://", url)
    with psycopg.connect(address, autocommit=True, **changes) as connection:
        yield connection


def ensure_role(connection: Connection, role: str, password: str | None = None) -> None:
    """Makes the role if it is missing; given a password, it can log in with that from now on.

    Raises InsufficientPrivilege. What a person has granted to the role since is left alone.
    """
    if not has_role(connection, role):
        try:
            with connection.transaction():
                execute(connection, "CREATE ROLE {} NOLOGIN", role)
        except (DuplicateObject, UniqueViolation):
            pass  # by another migration of this server, in the same moment
    if password:
        # Neither the server's log nor its statistics may see the password itself.
        hashed = connection.pgconn.encrypt_password(
            password.encode(), role.encode(), b"scram-sha-256"
        ).decode()
        statement = sql.SQL("ALTER ROLE {} LOGIN PASSWORD {}")
        connection.execute(statement.format(sql.Identifier(role), sql.Literal(hashed)))


def has_role(connection: Connection, role: str) -> bool:
    query = "SELECT 1 FROM pg_roles WHERE rolname = %s"
    return connection.execute(query, [role]).fetchone() is not None


def execute(connection: Connection, statement: str, *names: str) -> None:
    """With names of roles, tables and databases in the place of `{}`."""
    text = sql.SQL(statement)
    connection.execute(text.format(*map(sql.Identifier, names)))


def may_not(error: InsufficientPrivilege, role: str) -> str:
    """What to tell the person whose role may not make or change `role`."""
    return (
        f"the database refused to set up the role {role} ({error.diag.message_primary}); "
        "docs/operations.md says how to make it by hand"
    )


def cannot_connect(error: Exception) -> str:
    """What to tell the person whose database lets nobody in."""
    reason = str(error).splitlines()[0]
    lost = "password authentication failed" in reason
    hint = "; docs/operations.md says how to set its password anew" if lost else ""
    return f"the database can't be reached: {reason}{hint}"
