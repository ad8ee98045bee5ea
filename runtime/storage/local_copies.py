"""The files of an object store that lie on this host, as many as fit.

What the store has is read-only here, which is how this tells it from what is still to be stored: only the first is
deleted when it takes too much room.
"""

import os
import secrets
import shutil
import time
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path

#: What was used more recently is kept, however much room is taken.
IN_USE_SECONDS = 3600.0
#: What was written here and never stored is nobody's after so long.
ABANDONED_SECONDS = 7 * 24 * 3600.0
#: Looking through all files takes a while.
_PAUSE_SECONDS = 60.0
#: These are used as a whole: the folders below this one.
_WHOLE = "datasets"


@dataclass(frozen=True, slots=True)
class _Copy:
    """A file, or a folder that is used as a whole."""

    path: Path
    bytes: int
    used_at: float


class LocalCopies:
    """Bounded by `most_bytes`, other than what is in use. Several processes share the folder."""

    def __init__(self, folder: Path, most_bytes: int) -> None:
        self._folder = folder
        self._most_bytes = most_bytes
        self._trimmed_at: float | None = None

    def note_stored(self, path: Path) -> None:
        """From now on the store has it."""
        with suppress(OSError):  # Deleted meanwhile, or another user's.
            path.chmod(0o444)
        self.trim_if_due()

    def note_used(self, path: Path) -> None:
        with suppress(OSError):
            os.utime(path)

    def trim_if_due(self) -> None:
        now = time.monotonic()
        if self._trimmed_at is None or now - self._trimmed_at > _PAUSE_SECONDS:
            self._trimmed_at = now
            with suppress(OSError):  # Another user's files: what is used must not fail for them.
                self.trim()

    def trim(self) -> int:
        """Deletes what was used longest ago until the rest fits; returns how many copies that were."""
        copies = sorted(self._copies(), key=lambda one: one.used_at)
        left = sum(one.bytes for one in copies)
        deleted = 0
        for one in copies:
            if left <= self._most_bytes or time.time() - one.used_at < IN_USE_SECONDS:
                break
            _remove(one.path)
            left -= one.bytes
            deleted += 1
        return deleted

    def _copies(self) -> Sequence[_Copy]:
        """Deletes on the way what is nobody's."""
        copies: list[_Copy] = []
        used: dict[Path, float] = {}
        for path, found in self._files():
            # All of a job is in use as long as any of it is: at its end a training reads its best weights again.
            unit = self._unit_of(path)
            used[unit] = max(used.get(unit, 0.0), found.st_mtime)
            if not found.st_mode & 0o200:
                copies.append(_Copy(path, found.st_size, found.st_mtime))
            elif self._is_abandoned(path, found.st_mtime):
                path.unlink(missing_ok=True)
        of_jobs = [replace(one, used_at=used[self._unit_of(one.path)]) for one in copies]
        return [*of_jobs, *self._whole_folders()]

    def _files(self) -> Iterator[tuple[Path, os.stat_result]]:
        """Other than those that are used with their whole folder."""
        for parent, folders, names in os.walk(self._folder):
            if Path(parent) == self._folder and _WHOLE in folders:
                folders.remove(_WHOLE)
            for path in (Path(parent, name) for name in names):
                with suppress(OSError):  # Deleted meanwhile.
                    yield path, path.stat()

    def _unit_of(self, path: Path) -> Path:
        """`jobs/3` of whatever lies below it."""
        return Path(*path.relative_to(self._folder).parts[:2])

    def _is_abandoned(self, path: Path, changed_at: float) -> bool:
        """Of an attempt that died: what running ones write is younger."""
        is_of_job = path.is_relative_to(self._folder / "jobs")
        return is_of_job and time.time() - changed_at > ABANDONED_SECONDS

    def _whole_folders(self) -> Sequence[_Copy]:
        copies = []
        with suppress(OSError):
            for folder in (self._folder / _WHOLE).iterdir():
                files = [one.stat() for one in folder.iterdir()] if folder.is_dir() else []
                if files and not any(one.st_mode & 0o200 for one in files):
                    size = sum(one.st_size for one in files)
                    copies.append(_Copy(folder, size, folder.stat().st_mtime))
        return copies


def _remove(path: Path) -> None:
    if path.is_dir():
        # All of it at once for whoever looks for it; a process that has mapped its files keeps them.
        gone = path.with_name(f".evicted-{secrets.token_hex(4)}")
        with suppress(OSError):
            path.rename(gone)
        shutil.rmtree(gone, ignore_errors=True)
        return
    with suppress(OSError):
        path.unlink(missing_ok=True)
