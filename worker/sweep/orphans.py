"""What processes left in the storage when they died: files that no row names, half-decoded datasets."""

import os
import re
import shutil
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from itertools import groupby, islice
from pathlib import Path

import structlog
from sqlalchemy.orm import Session, sessionmaker

from runtime.storage import FolderStorage, Storage, StorageAway
from store.deletions import leftovers
from store.jobs import maintenance

log = structlog.get_logger(__name__)

#: Younger files may still get their row.
MINIMUM_AGE_SECONDS = 3600.0
#: Nothing is decoded for longer than this without a file that changes.
UNFINISHED_SECONDS = 24 * 3600.0
_JOBS_AT_ONCE = 500
_PATH = re.compile(r"jobs/[0-9]+/attempt-")


def delete_orphans(
    sessions: sessionmaker[Session],
    storage: Storage,
    minimum_age_seconds: float = MINIMUM_AGE_SECONDS,
) -> int:
    """Delete what is old enough, of jobs that are not running; returns the number of files."""
    before = storage.now() - minimum_age_seconds
    deleted = 0
    # A file that is listed while its job runs, and whose row is written then, is named: rows are read afterwards.
    for chunk in _in_chunks(_old_files(storage, before)):
        orphans = _orphans(sessions, chunk)
        deleted += sum(_delete(storage, key) for key in orphans)
    if deleted:
        log.info("files that no row names are deleted", files=deleted)
    return deleted


def delete_left(sessions: sessionmaker[Session], storage: Storage) -> int:
    """Delete the files of jobs, studies and datasets that were deleted, of any age; returns the number of files."""
    with sessions.begin() as session:
        left = leftovers.find_files(session)
    deleted, done = 0, []
    for one in left:
        keys = [
            entry.key
            for prefix in one.prefixes
            for entry in storage.entries(prefix)
            if entry.key not in one.kept
        ]
        deleted_of_it = sum(_delete(storage, key) for key in keys)
        deleted += deleted_of_it
        if deleted_of_it == len(keys):
            done.append(one.id)
            _remove_empty(storage.root, one.prefixes)
    if done:
        with sessions.begin() as session:
            leftovers.note_files_removed(session, done)
        log.info("files of what was deleted are deleted", files=deleted)
    return deleted


def _remove_empty(root: Path, prefixes: Iterable[str]) -> None:
    for folder in (root / prefix for prefix in prefixes):
        for parent, _, _ in os.walk(folder, topdown=False):
            with suppress(OSError):  # It isn't empty.
                os.rmdir(parent)


def delete_unfinished(storage: Path, minimum_age_seconds: float = UNFINISHED_SECONDS) -> int:
    """Delete what decodings that were killed had written, on whatever host; how many folders it was."""
    before = FolderStorage(storage).now() - minimum_age_seconds
    deleted = 0
    for folder in (storage / "datasets").glob(".decoding-*"):
        if all(_changed_before(path, before) for path in (folder, *folder.glob("*"))):
            shutil.rmtree(folder, ignore_errors=True)
            log.info("a half-decoded dataset is deleted", folder=folder.name)
            deleted += 1
    return deleted


def _old_files(storage: Storage, before: float) -> Iterator[tuple[int, list[str]]]:
    """By job, those of its attempts."""
    attempts = (
        one for one in storage.entries("jobs/") if _PATH.match(one.key) and one.changed_at < before
    )
    for job_id, files in groupby(attempts, lambda one: int(one.key.split("/")[1])):
        yield job_id, [one.key for one in files]


def _in_chunks(files: Iterable[tuple[int, list[str]]]) -> Iterator[dict[int, list[str]]]:
    iterator = iter(files)
    while chunk := dict(islice(iterator, _JOBS_AT_ONCE)):
        yield chunk


def _orphans(sessions: sessionmaker[Session], files: Mapping[int, Sequence[str]]) -> list[str]:
    with sessions.begin() as session:
        settled = maintenance.settled_jobs(session, list(files))
        named = maintenance.named_paths(session, settled)
    return [key for job_id in settled for key in files[job_id] if key not in named]


def _delete(storage: Storage, key: str) -> bool:
    try:
        storage.delete(key)
    except StorageAway:
        raise
    except OSError as error:  # One file must not keep the sweep from its other work.
        log.warning("a file could not be deleted", key=key, error=str(error))
        return False
    return True


def _changed_before(path: Path, before: float) -> bool:
    try:
        return path.stat().st_mtime < before
    except OSError:
        return False
