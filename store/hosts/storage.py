"""The storage of a database, recognized by a marker file with the id that the database has.

A new marker is written under a temporary name that contains its id, its row is committed, then it gets its name: if a
process is killed in between, the next one completes that.
"""

import errno
import os
import secrets
import socket
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import func, select
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session, sessionmaker

from runtime.files import make_folder
from runtime.storage import Storage as SharedStorage
from runtime.storage import StorageAway, StorageError, write
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
    "Set NORMLAB_STORAGE to what the API, all workers, the sweep and the mirror share; or, if this "
    "replaces it (it was restored, moved or emptied), adopt it once: " + ADOPTING
)


@dataclass(frozen=True, slots=True)
class Adopted:
    """What became the storage; `missing` of the `named` files in the database are not in it."""

    id: str
    named: int
    missing: int


def check_storage(
    sessions: sessionmaker[Session], storage: SharedStorage, *, must_write: bool = True
) -> None:
    """Raises StorageRefused, with what to do, unless this is the database's storage and can be used; StorageAway where
    it can't be reached.

    A database without a storage adopts it.
    """
    with sessions.begin() as session:
        row = session.get(Storage, True)
        if row is None:
            # Those who start first at the same time go one after the other, and the first adopts its storage.
            session.execute(select(func.pg_advisory_xact_lock(LOCK)))
            row = session.get(Storage, True, populate_existing=True)
        if row is None:
            _refuse_strangers(session, storage)
            marker = _adopt(session, storage)
        else:
            _compare(session, storage, row)
            marker = row.id
    _complete(storage, marker)
    if must_write:
        _ensure_writable(storage)


def adopt_storage(sessions: sessionmaker[Session], storage: SharedStorage) -> Adopted:
    """Makes this the storage under a new id, whatever it was before; processes that start with another one are
    refused from now on."""
    with sessions.begin() as session:
        session.execute(select(func.pg_advisory_xact_lock(LOCK)))
        marker = _adopt(session, storage)
        paths = [*session.scalars(select(Checkpoint.path)), *session.scalars(select(File.path))]
    _complete(storage, marker)
    _ensure_writable(storage)
    return Adopted(marker, len(paths), _count_missing(storage, paths))


def _count_missing(storage: SharedStorage, paths: Sequence[str]) -> int:
    if not storage.is_remote:
        return sum(not storage.exists(path) for path in paths)
    # Of many files: a request lists a thousand, and asks for one.
    with _in_words(storage):
        present = {one.key for one in storage.entries("")}
    return sum(path not in present for path in paths)


def _refuse_strangers(session: Session, storage: SharedStorage) -> None:
    """Raises StorageRefused where a database without a storage must not adopt this one automatically."""
    marker = _read_marker(storage)
    if marker is not None:
        raise StorageRefused(
            f"The storage {storage} belongs to another database: its file {MARKER} says {marker!r}, and this database "
            "has no storage yet. Two databases that share a storage would delete each other's files. Set NORMLAB_STORAGE "
            "to another one; or, if the other database no longer exists, adopt this one once: "
            + ADOPTING
        )
    _refuse_lacking(session, storage, since=None)


def _compare(session: Session, storage: SharedStorage, row: Storage) -> None:
    # In this order: another process may be giving the marker its name right now.
    unnamed = _read_marker(storage, row.id)
    marker = _read_marker(storage)
    if row.id not in (unnamed, marker):
        where = f"file {MARKER} says {marker!r}" if marker else f"file {MARKER} is missing"
        if not storage.is_remote and not storage.root.exists():
            where = "folder does not exist"
        raise StorageRefused(
            f"{storage} on {socket.gethostname()} is not this database's storage: its {where}, but the database's "
            f"storage is {row.id!r}, adopted {row.adopted_at:%Y-%m-%d %H:%M} UTC as {row.folder} on {row.machine}. "
            + _REMEDY
        )
    _refuse_lacking(session, storage, since=row.adopted_at)


def _refuse_lacking(session: Session, storage: SharedStorage, since: datetime | None) -> None:
    """Raises StorageRefused for a copy of the storage: it has the marker but not the files written since."""
    paths = _newest_paths(session, since)
    with _in_words(storage):
        lacks_all = len(paths) >= FEWEST and not any(storage.exists(path) for path in paths)
    if lacks_all:
        raise StorageRefused(
            f"{storage} on {socket.gethostname()} is not this database's storage, or is an old copy of it: it contains none "
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


def _adopt(session: Session, storage: SharedStorage) -> str:
    marker = secrets.token_hex(8)
    with _in_words(storage):
        write(storage, f"{MARKER}.{marker}", f"{marker}\n".encode())
    values = {
        "id": marker,
        "folder": str(storage),
        "machine": socket.gethostname(),
        "adopted_at": func.clock_timestamp(),
    }
    statement = insert(Storage).values(singleton=True, **values)
    session.execute(
        statement.on_conflict_do_update(index_elements=[Storage.singleton], set_=values)
    )
    return marker


def _complete(storage: SharedStorage, marker: str) -> None:
    """Gives a committed marker its name; others may be doing the same."""
    unnamed = f"{MARKER}.{marker}"
    with _in_words(storage):
        # Asked first: a read-only file system refuses to write what is there already.
        if not storage.exists(unnamed):
            return
        write(storage, MARKER, f"{marker}\n".encode())
        storage.delete(unnamed)


def _read_marker(storage: SharedStorage, committed: str | None = None) -> str | None:
    """The id in the marker file, or in the one without its name yet (`committed`); None if there is no such file."""
    name = f"{MARKER}.{committed}" if committed else MARKER
    with _in_words(storage):
        try:
            return storage.read(name).decode(errors="replace").strip()
        except FileNotFoundError:
            return None


def _ensure_writable(storage: SharedStorage) -> None:
    with _in_words(storage):
        try:
            if storage.is_remote:
                probe = f".probe-{secrets.token_hex(8)}"
                make_folder(storage.root)
                write(storage, probe, b"")
                storage.delete(probe)
            tempfile.TemporaryFile(dir=storage.root).close()
        except OSError as error:
            # A full disk may have room again later; until then each write reports it.
            if error.errno not in (errno.ENOSPC, errno.EDQUOT):
                raise


@contextmanager
def _in_words(storage: SharedStorage) -> Iterator[None]:
    try:
        yield
    except StorageAway:
        raise
    except StorageError as error:
        raise StorageRefused(
            f"{error}. Allow this service to list, read, write and delete there, or set NORMLAB_STORAGE to another one."
        ) from error
    except OSError as error:
        raise StorageRefused(
            f"The storage {storage.root} on {socket.gethostname()} cannot be used by user {os.geteuid()}: "
            f"{error.strerror} ({error.filename}). Allow this user to read, write and delete there, or set "
            f"{'NORMLAB_CACHE' if storage.is_remote else 'NORMLAB_STORAGE'} to another folder."
        ) from error
