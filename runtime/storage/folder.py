"""A folder that all hosts mount: files stay where they are written."""

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from runtime.storage.interface import Entry, Progress, StorageError, no_progress


@dataclass(frozen=True, slots=True)
class FolderStorage:
    """Nothing is copied and nothing is read twice."""

    root: Path

    def __str__(self) -> str:
        return str(self.root)

    @property
    def is_remote(self) -> bool:
        return False

    def put(self, key: str, digest: str, progress: Progress = no_progress) -> None:
        """It is there."""

    def fetch(
        self, key: str, digest: str, path: Path | None = None, progress: Progress = no_progress
    ) -> Path:
        return self.root / key

    def read(self, key: str) -> bytes:
        return (self.root / key).read_bytes()

    def exists(self, key: str) -> bool:
        return (self.root / key).exists()

    def delete(self, key: str) -> None:
        # A key comes from the database, where others may write: it must not lead anywhere else.
        if not Path(os.path.normpath(self.root / key)).is_relative_to(self.root):
            raise StorageError(f"{key} is not in {self.root}")
        (self.root / key).unlink(missing_ok=True)

    def entries(self, prefix: str) -> Iterator[Entry]:
        for parent, folders, names in os.walk(self.root / prefix.rpartition("/")[0]):
            folders.sort()
            for name in sorted(names):
                path = Path(parent, name)
                key = str(path.relative_to(self.root))
                if not key.startswith(prefix):
                    continue
                try:
                    found = path.stat()
                except OSError:  # Deleted meanwhile.
                    continue
                yield Entry(key, found.st_size, found.st_mtime)

    def now(self) -> float:
        # By the clock that gives files their times, which is the file server's: ours may be an hour ahead, and a file
        # that is being written would look old.
        os.utime(self.root)
        return self.root.stat().st_mtime
