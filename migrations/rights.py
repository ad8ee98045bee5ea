"""What the API and the workers may do with our tables, applied after every upgrade."""

import sys
from collections.abc import Mapping

from psycopg import Connection
from psycopg.errors import InsufficientPrivilege

from migrations.roles import (
    API,
    READER,
    WORKER,
    connect,
    ensure_role,
    execute,
    given_passwords,
    has_role,
    may_not,
)
from store.db import Table

_NOTHING = ""
_READ = "SELECT"
_ADD = "SELECT, INSERT"
_CHANGE = "SELECT, UPDATE"
_WRITE = "SELECT, INSERT, UPDATE"
_ALL = "SELECT, INSERT, UPDATE, DELETE"

#: The API's and the workers' (with sweep and mirror). Neither deletes jobs or changes their history.
RIGHTS: Mapping[str, tuple[str, str]] = {
    "alembic_version": (_READ, _READ),
    "users": (_WRITE, _READ),
    "tokens": (_WRITE, _NOTHING),
    "audit": (_ADD, _NOTHING),
    "browser_sessions": ("SELECT, INSERT, DELETE", _NOTHING),
    "idempotency_keys": (_ADD, "SELECT, DELETE"),
    "storage": (_WRITE, _WRITE),
    "projects": (_WRITE, _CHANGE),
    "datasets": (_WRITE, _CHANGE),
    "studies": (_WRITE, _CHANGE),
    "jobs": (_WRITE, _WRITE),
    # Written by the triggers of `jobs` alone.
    "results": (_READ, _READ),
    "transitions": (_ADD, _ADD),
    "attempts": (_READ, _WRITE),
    "usage": (_READ, _ALL),
    "half_life": (_READ, _WRITE),
    "limits": (_WRITE, _READ),
    "start_estimates": (_READ, _ALL),
    "workers": (_READ, _ALL),
    "devices": (_READ, _ALL),
    "leases": (_READ, _ALL),
    "footprints": (_READ, _ALL),
    "reservations": ("SELECT, INSERT, DELETE", _READ),
    # The API adds to them when it answers a job by an equal one.
    "epochs": (_ADD, _ADD),
    "diagnoses": (_ADD, _ADD),
    "checkpoints": ("SELECT, INSERT, DELETE", _ALL),
    "files": (_ADD, _ALL),
    "log_lines": (_ADD, _ADD),
    "verdicts": (_READ, _ALL),
    "mirrored": (_CHANGE, _ALL),
    "mirror_problems": (_READ, _ALL),
}
#: Two at once would fail at each other's changes: the key of an advisory lock.
_LOCK = 0x6E6C_0010
#: Of a table that isn't listed: whoever adds one decides who needs it.
_OTHERS = (_NOTHING, _NOTHING)


def set_up_rights(url: str) -> None:
    """`apply_rights` with the passwords of the environment; what could not be done is said on stderr.

    Exits where a password was given: whoever gave it starts processes that log in with it.
    """
    passwords = given_passwords()
    problems = apply_rights(url, passwords)
    for problem in problems:
        sys.stderr.write(f"{problem}\n")
    if problems and {API, WORKER} & set(passwords):
        sys.exit("The API or the workers can't log in with the passwords that were given.")
    if problems:
        sys.stderr.write("API and workers can log in as the tables' owner.\n")


def apply_rights(url: str, passwords: Mapping[str, str]) -> list[str]:
    """Makes the two roles and gives them what they need, no more; returns what could not be done.

    With passwords (by role) only those two and the reader may connect; without, who may is left alone.
    """
    problems = []
    with connect(url) as connection:
        for index, role in enumerate((API, WORKER)):
            try:
                with connection.transaction():
                    connection.execute("SELECT pg_advisory_xact_lock(%s)", [_LOCK])
                    ensure_role(connection, role, passwords.get(role))
                    _grant(connection, role, index)
                    if role in passwords:
                        _close_database(connection, role)
            except InsufficientPrivilege as error:
                problems.append(may_not(error, role))
    return problems


def _grant(connection: Connection, role: str, index: int) -> None:
    execute(connection, "GRANT USAGE ON SCHEMA public TO {}", role)
    for table in ("alembic_version", *Table.metadata.tables):
        execute(connection, "REVOKE ALL ON {} FROM {}", table, role)
        rights = RIGHTS.get(table, _OTHERS)[index]
        if rights:
            execute(connection, f"GRANT {rights} ON {{}} TO {{}}", table, role)


def _close_database(connection: Connection, role: str) -> None:
    database = connection.info.dbname
    execute(connection, "REVOKE ALL ON DATABASE {} FROM PUBLIC", database)
    execute(connection, "GRANT CONNECT ON DATABASE {} TO {}", database, role)
    if has_role(connection, READER):
        execute(connection, "GRANT CONNECT ON DATABASE {} TO {}", database, READER)
