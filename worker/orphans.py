"""Files in the storage that no row names: left by processes that died between a file and its row."""

import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import structlog
from sqlalchemy.orm import Session, sessionmaker

from store import upkeep

log = structlog.get_logger(__name__)

#: Younger files may still get their row.
MINIMUM_AGE_SECONDS = 3600.0
_JOBS_AT_ONCE = 500


def delete_orphans(
    sessions: sessionmaker[Session], storage: Path, minimum_age_seconds: float = MINIMUM_AGE_SECONDS
) -> int:
    """Delete what is old enough, of jobs that nobody runs; how many files it was."""
    numbers = sorted(
        int(folder.name) for folder in (storage / "jobs").glob("*") if folder.name.isdecimal()
    )
    deleted = 0
    for start in range(0, len(numbers), _JOBS_AT_ONCE):
        chunk = numbers[start : start + _JOBS_AT_ONCE]
        before = time.time() - minimum_age_seconds
        for path in _orphans(sessions, storage, chunk, before):
            path.unlink(missing_ok=True)
            deleted += 1
    if deleted:
        log.info("files that no row names are deleted", files=deleted)
    return deleted


def _orphans(
    sessions: sessionmaker[Session], storage: Path, job_ids: Sequence[int], before: float
) -> Iterator[Path]:
    with sessions.begin() as session:
        settled = upkeep.settled_jobs(session, job_ids)
        named = upkeep.named_paths(session, settled)
    for job_id in settled:
        for path in (storage / "jobs" / str(job_id)).glob("attempt-*/**/*"):
            if str(path.relative_to(storage)) not in named and _is_older(path, before):
                yield path


def _is_older(path: Path, before: float) -> bool:
    try:
        return path.is_file() and path.stat().st_mtime < before
    except FileNotFoundError:
        return False
