"""At a process's start: nothing is done before its storage is known to be the database's."""

import threading
from pathlib import Path

import structlog
from sqlalchemy.orm import Session, sessionmaker

from store.db import DATABASE_AWAY, StorageRefused
from store.hosts import check_storage

log = structlog.get_logger(__name__)

RETRY_SECONDS = 1.0


def wait_for_storage(
    sessions: sessionmaker[Session],
    folder: Path,
    *,
    must_write: bool = True,
    stop: threading.Event | None = None,
) -> None:
    """Waits for an absent database, unless told to stop.

    Raises SystemExit, with what to do, when the folder isn't the database's storage.
    """
    stop = stop or threading.Event()
    while not stop.is_set():
        try:
            check_storage(sessions, folder, must_write=must_write)
        except DATABASE_AWAY as error:
            log.warning("waiting for the database", error=str(error))
            stop.wait(RETRY_SECONDS)
        except StorageRefused as error:
            raise SystemExit(str(error)) from None
        else:
            return
