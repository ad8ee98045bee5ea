"""The storage: whether it belongs to the database, at the start and until the database has answered; and what is in
it."""

import os
import sys
import threading
import time
from collections.abc import Iterable, Mapping
from pathlib import Path

import structlog
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.orm import Session, sessionmaker

from api.settings import Settings
from runtime.storage import Storage, StorageAway
from store.db import StorageRefused, make_engine, make_sessions
from store.hosts import Stored, check_storage, disk_use

#: Of decoded datasets, so many are measured; and nothing again for so long.
MOST_FOLDERS, KEPT_SECONDS = 1000, 60.0
#: Until an object store that is away is asked again.
STORE_RETRY_SECONDS = 10

log = structlog.get_logger(__name__)


def refuse_wrong_storage(settings: Settings) -> None:
    """Ends this process, with what to do, when the storage isn't the database's; readiness asks again where the
    database or the object store does not answer yet, or there are no tables."""
    engine = make_engine(settings.database_url, pool_size=1)
    try:
        check_storage(make_sessions(engine), settings.storage)
    except StorageRefused as error:
        sys.exit(str(error))
    except (SQLAlchemyError, StorageAway) as error:
        log.warning("the storage is not checked yet", error=str(error))
    finally:
        engine.dispose()


class StorageCheck:
    """Remembers that the storage is the right one: it is asked for until it is."""

    def __init__(self, sessions: sessionmaker[Session], storage: Storage) -> None:
        self._sessions = sessions
        self._storage = storage
        self._is_right = False
        self._lock = threading.Lock()
        self._said: str | None = None

    def find_problem(self) -> str | None:
        """The problem without paths, because readiness needs no token; the log has the details."""
        # Asked at every readiness check until it is right, then never again: a marker file on a network file
        # system is not read every few seconds for ever.
        with self._lock:
            if self._is_right:
                return None
            try:
                check_storage(self._sessions, self._storage)
            except StorageRefused as error:
                if str(error) != self._said:
                    log.error("the storage is refused", detail=str(error))
                self._said = str(error)
                return "the storage does not belong to this database or cannot be used; see the API's log"
            except StorageAway as error:
                log.warning("the storage can't be reached", error=str(error))
                return "the storage cannot be reached; see the API's log"
            except SQLAlchemyError as error:
                return type(error).__name__
            self._is_right = True
            return None


def delete_files(storage: Storage, paths: Iterable[str]) -> None:
    """Files, by their paths in the storage; what can't be deleted is left to the sweep, and so are those of an object
    store: for thousands of requests to it a client wouldn't wait."""
    if storage.is_remote:
        return
    for path in paths:
        try:
            storage.delete(path)
        except OSError as error:
            log.warning("a file could not be deleted", path=path, error=str(error))


class StorageSizes:
    """How many files of each kind there are and how large they are together: adding up all rows takes a while. Decoded
    datasets have no row for each file, but their folders are few, and flat. Safe for many threads."""

    def __init__(self, sessions: sessionmaker[Session], storage: Storage) -> None:
        self._sessions = sessions
        self._storage = storage
        self._lock = threading.Lock()
        self._kept: tuple[float, Mapping[str, Stored]] | None = None

    def read(self) -> Mapping[str, Stored]:
        """`checkpoints`, `files`, `reports` and `datasets` as they are now, or were up to a minute ago."""
        with self._lock:
            if self._kept is None or time.monotonic() - self._kept[0] > KEPT_SECONDS:
                with self._sessions.begin() as session:
                    stored = disk_use.read_stored(session)
                measured = (
                    _measure_objects(self._storage)
                    if self._storage.is_remote
                    else _measure_folders(self._storage.root / "datasets")
                )
                self._kept = time.monotonic(), {**stored, "datasets": measured}
            return self._kept[1]


def _measure_folders(parent: Path) -> Stored:
    count = size = 0
    try:
        with os.scandir(parent) as entries:
            folders = [one.path for one in entries if one.is_dir(follow_symlinks=False)]
    except FileNotFoundError:
        # Nothing is decoded yet.
        return Stored(0, 0)
    except OSError as error:
        log.warning("the decoded datasets cannot be listed", error=str(error))
        return Stored(0, 0)
    for folder in folders[:MOST_FOLDERS]:
        try:
            with os.scandir(folder) as files:
                size += sum(one.stat().st_size for one in files)
            count += 1
        except FileNotFoundError:
            # Being deleted meanwhile, and so not counted.
            continue
        except OSError as error:
            log.warning("a decoded dataset cannot be measured", folder=folder, error=str(error))
    return Stored(count, size)


def _measure_objects(storage: Storage) -> Stored:
    """Of an object store. The lists of what each dataset has are no files of it."""
    try:
        found = [one for one in storage.entries("datasets/") if one.key.count("/") == 2]
    except OSError as error:
        log.warning("the decoded datasets cannot be listed", error=str(error))
        return Stored(0, 0)
    count = len({one.key.split("/")[1] for one in found})
    return Stored(count, sum(one.bytes for one in found))
