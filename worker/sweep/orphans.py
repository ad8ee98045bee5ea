"""What processes left in the storage when they died: files that no row names, half-decoded datasets."""

import os
import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path

import structlog
from sqlalchemy.orm import Session, sessionmaker

from store.jobs import maintenance

log = structlog.get_logger(__name__)

#: Younger files may still get their row.
MINIMUM_AGE_SECONDS = 3600.0
#: Nothing is decoded for longer than this without a file that changes.
UNFINISHED_SECONDS = 24 * 3600.0
_JOBS_AT_ONCE = 500


def delete_orphans(
    sessions: sessionmaker[Session], storage: Path, minimum_age_seconds: float = MINIMUM_AGE_SECONDS
) -> int:
    """Delete what is old enough, of jobs that are not running; returns the number of files."""
    numbers = sorted(
        int(folder.name) for folder in (storage / "jobs").glob("*") if folder.name.isdecimal()
    )
    deleted = 0
    for start in range(0, len(numbers), _JOBS_AT_ONCE):
        chunk = numbers[start : start + _JOBS_AT_ONCE]
        before = _now(storage) - minimum_age_seconds
        deleted += sum(_delete(path) for path in _orphans(sessions, storage, chunk, before))
    if deleted:
        log.info("files that no row names are deleted", files=deleted)
    return deleted


def delete_unfinished(storage: Path, minimum_age_seconds: float = UNFINISHED_SECONDS) -> int:
    """Delete what decodings that were killed had written; how many folders it was."""
    before = _now(storage) - minimum_age_seconds
    deleted = 0
    for folder in (storage / "datasets").glob(".decoding-*"):
        if all(_changed_before(path, before) for path in (folder, *folder.glob("*"))):
            shutil.rmtree(folder, ignore_errors=True)
            log.info("a half-decoded dataset is deleted", folder=folder.name)
            deleted += 1
    return deleted


def _now(storage: Path) -> float:
    """By the clock that gives files their times, which is the file server's: ours may be an hour ahead, and
    a file that is being written would look old. Raises OSError where nothing can be changed."""
    os.utime(storage)
    return storage.stat().st_mtime


def _delete(path: Path) -> bool:
    try:
        path.unlink(missing_ok=True)
    except OSError as error:  # One file must not keep the sweep from its other work.
        log.warning("a file could not be deleted", path=str(path), error=str(error))
        return False
    return True


def _orphans(
    sessions: sessionmaker[Session], storage: Path, job_ids: Sequence[int], before: float
) -> Iterator[Path]:
    with sessions.begin() as session:
        # The rows are read before the folders are listed. A file that gets its row in between is
        # not named here, but it is younger than `before`.
        settled = maintenance.settled_jobs(session, job_ids)
        named = maintenance.named_paths(session, settled)
    for job_id in settled:
        for path in (storage / "jobs" / str(job_id)).glob("attempt-*/**/*"):
            if str(path.relative_to(storage)) not in named and _is_older(path, before):
                yield path


def _is_older(path: Path, before: float) -> bool:
    return path.is_file() and _changed_before(path, before)


def _changed_before(path: Path, before: float) -> bool:
    try:
        return path.stat().st_mtime < before
    except OSError:
        return False
