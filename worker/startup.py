"""What the worker's processes wait for at their start: the database, and that their storage is the database's."""

import threading
from collections.abc import Callable

import structlog
from sqlalchemy.orm import Session, sessionmaker

from runtime.storage import Storage, StorageAway
from runtime.termination import NO_TERMINATION, Termination
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
