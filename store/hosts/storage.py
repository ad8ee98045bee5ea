"""The storage folder of a database, recognized by a marker file with the id that the database has.

A new marker is written under a temporary name that contains its id, its row is committed, then it is renamed: if a
process is killed in between, the next one completes the renaming.
"""

import errno
import os
import secrets
import socket
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path

from sqlalchemy import func, select
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session, sessionmaker

from runtime.files import sync, write_file
from store.db import Checkpoint, File, Storage, StorageRefused

MARKER = "storage-id"
#: Serialises those who adopt a storage: the key of an advisory lock.
LOCK = 0x6E6C_0003

#: A folder without any of the newest files (at least three) is not the one they were written to.
NEWEST = 20
FEWEST = 3
#: Files younger than this may not be visible yet over a network file system.
SETTLED = timedelta(minutes=1)

ADOPTING = (
    "`normlab up --adopt-storage` for the local stack, elsewhere `python -m store adopt-storage`."
)
_REMEDY = (
    "Mount the folder that the API, all workers, the sweep and the mirror share (NORMLAB_STORAGE); or, if this folder "
    "replaces it (it was restored, moved or emptied), adopt it once: " + ADOPTING
)


@dataclass(frozen=True, slots=True)
class Adopted:
    """A folder that became the storage; `missing` of the `named` files in the database are not in it."""

    id: str
    named: int
    missing: int


def check_storage(
    sessions: sessionmaker[Session], folder: Path, *, must_write: bool = True
) -> None:
    """Raises StorageRefused, with what to do, unless the folder is this database's storage and can be used.

    A database without a storage adopts the folder.
    """
    with sessions.begin() as session:
        row = session.get(Storage, True)
        if row is None:
            # Those who start first at the same time go one after the other, and the first adopts its folder.
            session.execute(select(func.pg_advisory_xact_lock(LOCK)))
            row = session.get(Storage, True, populate_existing=True)
        if row is None:
            _refuse_strangers(session, folder)
            marker = _adopt(session, folder)
        else:
            _compare(session, folder, row)
            marker = row.id
    _complete(folder, marker)
    if must_write:
        _ensure_writable(folder)


def adopt_storage(sessions: sessionmaker[Session], folder: Path) -> Adopted:
    """Makes the folder the storage under a new id, whatever it was before; processes that start with another
    folder are refused from now on."""
    with sessions.begin() as session:
        session.execute(select(func.pg_advisory_xact_lock(LOCK)))
        marker = _adopt(session, folder)
        paths = [*session.scalars(select(Checkpoint.path)), *session.scalars(select(File.path))]
    _complete(folder, marker)
    _ensure_writable(folder)
    return Adopted(marker, len(paths), sum(not (folder / path).exists() for path in paths))


def _refuse_strangers(session: Session, folder: Path) -> None:
    """Raises StorageRefused where a database without a storage must not adopt the folder automatically."""
    marker = _read_marker(folder)
    if marker is not None:
        raise StorageRefused(
            f"The storage {folder} belongs to another database: its file {MARKER} says {marker!r}, and this database "
            "has no storage yet. Two databases that share a storage would delete each other's files. Set NORMLAB_STORAGE "
            "to another folder; or, if the other database no longer exists, adopt this one once: "
            + ADOPTING
        )
    _refuse_lacking(session, folder, since=None)


def _compare(session: Session, folder: Path, row: Storage) -> None:
    # In this order: another process may be renaming the marker right now.
    unnamed = _read_marker(folder, row.id)
    marker = _read_marker(folder)
    if row.id not in (unnamed, marker):
        where = f"file {MARKER} says {marker!r}" if marker else f"file {MARKER} is missing"
        if not folder.exists():
            where = "folder does not exist"
        raise StorageRefused(
            f"{folder} on {socket.gethostname()} is not this database's storage: its {where}, but the database's "
            f"storage is {row.id!r}, adopted {row.adopted_at:%Y-%m-%d %H:%M} UTC as {row.folder} on {row.machine}. "
            + _REMEDY
        )
    _refuse_lacking(session, folder, since=row.adopted_at)


def _refuse_lacking(session: Session, folder: Path, since: datetime | None) -> None:
    """Raises StorageRefused for a copy of the storage: it has the marker but not the files written since."""
    paths = _newest_paths(session, since)
    if len(paths) >= FEWEST and not any((folder / path).exists() for path in paths):
        raise StorageRefused(
            f"{folder} on {socket.gethostname()} is not this database's storage, or is an old copy of it: it contains none "
            f"of the {len(paths)} newest files in the database, such as {paths[0]}. " + _REMEDY
        )


def _newest_paths(session: Session, since: datetime | None) -> list[str]:
    paths: list[str] = []
    for table in (Checkpoint, File):
        query = select(table.path).where(table.created_at < func.now() - SETTLED)
        if since is not None:
            query = query.where(table.created_at > since)
        paths += session.scalars(query.order_by(table.id.desc()).limit(NEWEST))
    return paths


def _adopt(session: Session, folder: Path) -> str:
    marker = secrets.token_hex(8)
    with _in_words(folder):
        write_file(folder / f"{MARKER}.{marker}", f"{marker}\n".encode())
    values = {
        "id": marker,
        "folder": str(folder),
        "machine": socket.gethostname(),
        "adopted_at": func.clock_timestamp(),
    }
    statement = insert(Storage).values(singleton=True, **values)
    session.execute(
        statement.on_conflict_do_update(index_elements=[Storage.singleton], set_=values)
    )
    return marker


def _complete(folder: Path, marker: str) -> None:
    """Gives a committed marker its name; others may be doing the same."""
    unnamed = folder / f"{MARKER}.{marker}"
    with _in_words(folder), suppress(FileNotFoundError):
        # Asked first: a read-only file system refuses to rename even what isn't there.
        if not unnamed.exists():
            return
        unnamed.replace(folder / MARKER)
        sync(folder)


def _read_marker(folder: Path, committed: str | None = None) -> str | None:
    """The id in the marker file, or in the one not yet renamed (`committed`); None if there is no such file."""
    name = f"{MARKER}.{committed}" if committed else MARKER
    with _in_words(folder):
        try:
            return (folder / name).read_text(errors="replace").strip()
        except FileNotFoundError:
            return None


def _ensure_writable(folder: Path) -> None:
    with _in_words(folder):
        try:
            tempfile.TemporaryFile(dir=folder).close()
        except OSError as error:
            # A full disk may have room again later; until then each write reports it.
            if error.errno not in (errno.ENOSPC, errno.EDQUOT):
                raise


@contextmanager
def _in_words(folder: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise StorageRefused(
            f"The storage {folder} on {socket.gethostname()} cannot be used by user {os.geteuid()}: "
            f"{error.strerror} ({error.filename}). Allow this user to read, write and delete there, or set "
            "NORMLAB_STORAGE to another folder."
        ) from error
