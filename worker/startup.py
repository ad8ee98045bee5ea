"""What the worker's processes do at their start: wait for the database, see that their storage is the database's, and
remove what dead ones left."""

import shutil
import threading
from collections.abc import Callable
from pathlib import Path

import structlog
from sqlalchemy.orm import Session, sessionmaker

from runtime.files import is_abandoned
from runtime.process import NO_TERMINATION, Termination
from runtime.storage import Storage, StorageAway
from store.db import DATABASE_AWAY, StorageRefused
from store.hosts import check_storage

log = structlog.get_logger(__name__)

RETRY_SECONDS = 1.0


def wait_for_database(
    action: Callable[[], None],
    stop: threading.Event | None = None,
    termination: Termination = NO_TERMINATION,
) -> None:
    """Repeats what needs the database, or the storage, until it is there, or `stop` is set: a host may come up before it.

    Raises SystemExit when `termination` has been requested.
    """
    stop = stop or threading.Event()
    while not stop.is_set():
        termination.check()
        try:
            action()
        except (*DATABASE_AWAY, StorageAway) as error:
            what = "storage" if isinstance(error, StorageAway) else "database"
            log.warning(f"waiting for the {what}", error=str(error))
            stop.wait(RETRY_SECONDS)
        else:
            return


def wait_for_storage(
    sessions: sessionmaker[Session],
    storage: Storage,
    *,
    must_write: bool = True,
    stop: threading.Event | None = None,
    termination: Termination = NO_TERMINATION,
) -> None:
    """Waits for an absent database or object store, unless it is stopped.

    Raises SystemExit, with what to do, when this isn't the database's storage.
    """

    def check() -> None:
        check_storage(sessions, storage, must_write=must_write)

    try:
        wait_for_database(check, stop, termination)
    except StorageRefused as error:
        raise SystemExit(str(error)) from None


def delete_abandoned(storage: Path) -> int:
    """Half-written datasets whose processes are known to be dead: decodings, and copies from an object store. Returns how
    many; the sweep deletes others once they are old."""
    folders = [
        folder
        for prefix in (".decoding-", ".fetching-")
        for folder in (storage / "datasets").glob(f"{prefix}*")
        if is_abandoned(folder)
    ]
    for folder in folders:
        shutil.rmtree(folder, ignore_errors=True)
        log.info("half a dataset is deleted: its process was killed", folder=folder.name)
    return len(folders)
