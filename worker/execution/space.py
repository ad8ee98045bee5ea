"""Whether this host's disks have room for a job: asked before a job is acquired."""

import os
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from store.hosts import Shortage
from worker.settings import Settings

MEGABYTE = 1_000_000
#: A file system can run out of inodes before it runs out of bytes.
NEEDED_FILES = 1000


@dataclass(frozen=True, slots=True)
class Space:
    """The folders that jobs write to, and how much must be free in each of them."""

    folders: tuple[Path, ...]
    needed_bytes: int

    @classmethod
    def of(cls, settings: Settings) -> Self:
        """Checkpoints and decoded datasets may be mounted apart from the rest of the storage; of an object store, copies
        take room."""
        storage = settings.storage.root
        folders = (storage, storage / "jobs", storage / "datasets", _temporary_folder())
        return cls(folders, round(settings.min_free_mb * MEGABYTE))

    def shortage(self) -> Shortage | None:
        """The first folder that has too little room, and why; None if all have enough."""
        if self.needed_bytes == 0:
            return None
        return next((lack for folder in self.folders if (lack := self._shortage(folder))), None)

    def describe(self) -> str:
        """`/storage has 3 MB free, /tmp has 90 MB free`, each file system once."""
        return ", ".join(self._describe())

    def _describe(self) -> Iterator[str]:
        seen = set()
        for folder in self.folders:
            try:
                device, free = _existing(folder).stat().st_dev, _free_bytes(folder)
            except OSError as error:
                yield f"{folder} cannot be read ({error.strerror})"
                continue
            if device not in seen:
                seen.add(device)
                yield f"{folder} has {megabytes(free)} free"

    def _shortage(self, folder: Path) -> Shortage | None:
        try:
            place = _existing(folder)
            state = os.statvfs(place)
        except OSError as error:
            return Shortage(
                str(folder), 0, self.needed_bytes, f"{folder} cannot be read: {error.strerror}"
            )
        free = state.f_bavail * state.f_frsize
        if state.f_flag & os.ST_RDONLY:
            detail = f"{place} is on a file system that is read-only"
        elif free < self.needed_bytes:
            detail = (
                f"{place} has {megabytes(free)} free but {megabytes(self.needed_bytes)} are needed "
                "(NORMLAB_MIN_FREE_MB)"
            )
        # Some file systems have no fixed number of files and say 0.
        elif state.f_files and state.f_favail < NEEDED_FILES:
            detail = (
                f"{place} has room for {state.f_favail} more files but {NEEDED_FILES} are needed"
            )
        else:
            return None
        return Shortage(str(place), free, self.needed_bytes, detail)


def _temporary_folder() -> Path:
    """Python tries to write there before it names the folder, which a full disk must not turn into a crash."""
    try:
        return Path(tempfile.gettempdir())
    except FileNotFoundError:
        return Path(os.environ.get("TMPDIR", "/tmp"))  # noqa: S108 - measured, not written to


def megabytes(count: int) -> str:
    return f"{count / MEGABYTE:.0f} MB"


def _free_bytes(folder: Path) -> int:
    state = os.statvfs(_existing(folder))
    return state.f_bavail * state.f_frsize


def _existing(folder: Path) -> Path:
    """The folder, or the parent in which it will be made."""
    return next((place for place in (folder, *folder.parents) if place.exists()), folder)
