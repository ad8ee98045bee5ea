"""PostgreSQL's own programs that dump and restore a database."""

import os
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path

from sqlalchemy import make_url

from store.backup.archive import BackupError


def dump_database(url: str, path: Path, snapshot: str | None = None) -> None:
    """Of a running database, as it is in this exported `snapshot`, or else now. Raises BackupError."""
    options = [f"--snapshot={snapshot}"] if snapshot else []
    _run("pg_dump", ["--format=custom", f"--file={path}", *options], url)


def restore_database(url: str, path: Path) -> None:
    """Into an empty database, all or nothing, as this user's own. Raises BackupError.

    Who may do what is not restored: `python -m migrations` gives each role its rights.
    """
    options = ["--no-owner", "--no-privileges", "--single-transaction", "--exit-on-error"]
    _run("pg_restore", [*options, f"--dbname={make_url(url).database}", str(path)], url)


def version_of_programs() -> str:
    """What `pg_dump` says. Raises BackupError."""
    return _run("pg_dump", ["--version"], None).strip()


def _run(program: str, arguments: Sequence[str], url: str | None) -> str:
    path = shutil.which(program)
    if path is None:
        raise BackupError(
            f"there is no {program} on PATH: it comes with PostgreSQL's client programs (postgresql-client)"
        )
    environment = {"PATH": os.environ.get("PATH", os.defpath), **(_connection(url) if url else {})}
    done = subprocess.run(
        [path, *arguments], check=False, capture_output=True, text=True, env=environment
    )
    if done.returncode != 0:
        raise BackupError(f"{program} failed: {done.stderr.strip()[-2000:]}")
    return done.stdout


def _connection(url: str) -> Mapping[str, str]:
    """By variables: everybody on the machine can read a command line, and with it the password."""
    parts = make_url(url)
    given = {
        "PGHOST": parts.host or parts.query.get("host"),
        "PGPORT": str(parts.port) if parts.port else None,
        "PGUSER": parts.username,
        "PGPASSWORD": parts.password,
        "PGDATABASE": parts.database,
    }
    return {name: str(value) for name, value in given.items() if value}
