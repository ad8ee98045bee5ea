"""What a storage does, whatever it is, and the errors of one that is no folder.

OSError
└── StorageError     the object store refuses, or has failed
    └── StorageAway  it can't be reached now, which may pass
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from runtime.files import digest_of, write_file

#: Called again and again while bytes move.
Progress = Callable[[], None]


class StorageError(OSError):
    """The object store refuses, or has failed."""


class StorageAway(StorageError):
    """The object store can't be reached now, or asks to try again later."""


@dataclass(frozen=True, slots=True)
class Entry:
    """A file in the storage; `changed_at`: seconds since the epoch by the storage's own clock."""

    key: str
    bytes: int
    changed_at: float


def no_progress() -> None:
    """For whoever doesn't watch."""


class Storage(Protocol):
    """Files by key: a path like `jobs/3/attempt-1/best.pt`, relative to the storage.

    A file is written at `root / key` on this host and then `put`; another host gets it by `fetch`. What was put
    under a key that a row names never changes. All methods raise OSError; str() is the place, without secrets.
    """

    @property
    def root(self) -> Path:
        """The folder on this host: the storage itself, or the copies of what an object store has."""
        ...

    @property
    def is_remote(self) -> bool:
        """Whether there is anything to put and fetch."""
        ...

    def put(self, key: str, digest: str, progress: Progress = no_progress) -> None:
        """Once this returns, all hosts can read the file that is at `root / key`."""
        ...

    def fetch(
        self, key: str, digest: str, path: Path | None = None, progress: Progress = no_progress
    ) -> Path:
        """Where the file is on this host: at `root / key`, unless another `path` is given.

        Raises FileNotFoundError where there is none, and DamagedFile where what has come is not what was put. A
        folder's file is not read for this: who reads it verifies it.
        """
        ...

    def read(self, key: str) -> bytes:
        """What all hosts see under the key now; raises FileNotFoundError."""
        ...

    def exists(self, key: str) -> bool: ...

    def delete(self, key: str) -> None:
        """Also of what isn't there."""
        ...

    def entries(self, prefix: str) -> Iterator[Entry]:
        """Of all keys that begin with the prefix; those of one folder follow one another."""
        ...

    def now(self) -> float:
        """By the clock that gives entries their times. Raises OSError where nothing may be changed."""
        ...


def write(storage: Storage, key: str, content: bytes, *, durable: bool = True) -> None:
    """A small file, at once; it replaces one that is there. `durable`: as in `runtime.files.write_file`."""
    write_file(storage.root / key, content, durable=durable)
    storage.put(key, digest_of(content))
