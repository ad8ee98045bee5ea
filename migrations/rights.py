"""What the API, the workers and MLflow's login may do with our tables, applied after every upgrade."""

import sys
from collections.abc import Mapping

from psycopg import Connection
from psycopg.errors import InsufficientPrivilege

from migrations.roles import (
    ACCESS,
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

#: The API's and the workers' (with sweep and mirror). Neither changes the history of jobs; what the API deletes it has
#: to mark as deleted (`ensure_marked`), and what belongs to it goes by foreign keys.
RIGHTS: Mapping[str, tuple[str, str]] = {
    "alembic_version": (_READ, _READ),
    "users": (_WRITE, _READ),
    "tokens": (_WRITE, _NOTHING),
    "audit": (_ADD, _NOTHING),
    "browser_sessions": ("SELECT, INSERT, DELETE", _NOTHING),
    "identities": (_ALL, _NOTHING),
    "idempotency_keys": (_ADD, "SELECT, DELETE"),
    "storage": (_WRITE, _WRITE),
    "projects": (_ALL, _CHANGE),
    "project_members": (_ALL, _READ),
    "datasets": (_ALL, _CHANGE),
    "studies": (_ALL, _CHANGE),
    "jobs": (_ALL, _WRITE),
    "deletions": (_ADD, _CHANGE),
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
    # What the messages are signed with, only the sweep needs to read.
    "webhooks": (
        "SELECT (id, user_id, token_id, study_id, project_id, url, format, created_at, expires_at), INSERT, DELETE",
        _READ,
    ),
    "ended_jobs": ("INSERT", "SELECT, INSERT, DELETE"),
    "deliveries": (_ADD, _ALL),
    "mirrored": (_CHANGE, _ALL),
    "mirror_problems": (_READ, _ALL),
}
#: Of who asks whose token or session this is and what that one may read, and notes that a token was used.
ACCESS_RIGHTS: Mapping[str, str] = {
    "projects": "SELECT (id, visibility, experiment_id)",
    "project_members": "SELECT (project_id, user_id, role)",
    "deletions": "SELECT (kind, mirrored, runs_at)",
    "users": "SELECT",
    "tokens": "SELECT (id, user_id, hash, scope, expires_at, last_used_at, revoked_at), UPDATE (last_used_at)",
    "browser_sessions": "SELECT (token_id, hash, expires_at)",
}
#: What its role may select from (docs/views.md); a backup restores the views, but no role and no right.
READERS_VIEWS = ("v_jobs", "v_epochs", "v_variants")
#: Two at once would fail at each other's changes: the key of an advisory lock.
_LOCK = 0x6E6C_0010


def set_up_rights(url: str) -> None:
    """`apply_rights` with the passwords of the environment; what could not be done is said on stderr.

    Exits where a password was given: whoever gave it starts processes that log in with it.
    """
    passwords = given_passwords()
    problems = apply_rights(url, passwords)
    for problem in problems:
        sys.stderr.write(f"{problem}\n")
    if problems and {API, WORKER, ACCESS} & set(passwords):
        sys.exit("API, workers or MLflow can't log in with the passwords that were given.")
    if problems:
        sys.stderr.write("API, workers and MLflow can log in as the tables' owner.\n")


def apply_rights(url: str, passwords: Mapping[str, str]) -> list[str]:
    """Makes the three roles and gives them what they need, no more; returns what could not be done.

    With passwords (by role) only those three and the reader may connect; without, who may is left alone.
    """
    problems = []
    with connect(url) as connection:
        for role, rights in _rights_of_roles().items():
            try:
                with connection.transaction():
                    connection.execute("SELECT pg_advisory_xact_lock(%s)", [_LOCK])
                    ensure_role(connection, role, passwords.get(role))
                    _grant(connection, role, rights)
                    if role in passwords:
                        _close_database(connection, role)
            except InsufficientPrivilege as error:
                problems.append(may_not(error, role))
        try:
            _let_readers_read(connection)
        except InsufficientPrivilege as error:
            problems.append(may_not(error, READER))
    return problems


def _rights_of_roles() -> Mapping[str, Mapping[str, str]]:
    """By role and table."""
    ours = {
        role: {table: rights[index] for table, rights in RIGHTS.items()}
        for index, role in enumerate((API, WORKER))
    }
    return {**ours, ACCESS: ACCESS_RIGHTS}


def _grant(connection: Connection, role: str, rights: Mapping[str, str]) -> None:
    execute(connection, "GRANT USAGE ON SCHEMA public TO {}", role)
    for table in ("alembic_version", *Table.metadata.tables):
        execute(connection, "REVOKE ALL ON {} FROM {}", table, role)
        # Of a table that isn't listed, nothing: whoever adds one decides who needs it.
        if granted := rights.get(table):
            execute(connection, f"GRANT {granted} ON {{}} TO {{}}", table, role)


def _let_readers_read(connection: Connection) -> None:
    """Only what is missing is granted: the views may belong to somebody else."""
    with connection.transaction():
        connection.execute("SELECT pg_advisory_xact_lock(%s)", [_LOCK])
        ensure_role(connection, READER)
        for view in READERS_VIEWS:
            query = "SELECT has_table_privilege(%s, %s, 'SELECT')"
            if connection.execute(query, [READER, view]).fetchone() != (True,):
                execute(connection, "GRANT SELECT ON {} TO {}", view, READER)


def _close_database(connection: Connection, role: str) -> None:
    database = connection.info.dbname
    execute(connection, "REVOKE ALL ON DATABASE {} FROM PUBLIC", database)
    execute(connection, "GRANT CONNECT ON DATABASE {} TO {}", database, role)
    if has_role(connection, READER):
        execute(connection, "GRANT CONNECT ON DATABASE {} TO {}", database, READER)
