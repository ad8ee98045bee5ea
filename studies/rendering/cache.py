"""Finished figures and pages in the storage: one of a kind per study or job, the newest."""

import re
from dataclasses import dataclass
from functools import cache
from importlib import metadata, resources
from pathlib import Path
from typing import Self

import structlog

from runtime.files import digest_of, digest_of_parts
from runtime.storage import Storage, write

log = structlog.get_logger(__name__)

#: By the letter of an owner: the folder of what was drawn of it.
_FOLDERS = {"s": "studies", "j": "job_drawings"}
_NAME = re.compile(
    r"(?P<owner>[sj][1-9]\d{0,18})\.(?P<kind>[a-z0-9_-]+)\.(?P<digest>[0-9a-f]{32})(?P<suffix>\.[a-z]+)"
)


@dataclass(frozen=True, slots=True)
class CachedRender:
    """A picture or page of a study (`s3`) or a job (`j12`), made or not; `kind` is `report`, `figure-<name>` or
    `curves-<options>`, `digest` that of all that it is made of."""

    owner: str
    kind: str
    suffix: str
    digest: str

    @classmethod
    def of(cls, owner: str, kind: str, suffix: str, content: str) -> Self:
        """`content`: what goes into it, or a digest of that."""
        return cls(owner, kind, suffix, digest_of(f"{content} {_code_digest()}"))

    @classmethod
    def parse(cls, name: str) -> Self | None:
        """The one of this `name`; None for what isn't a name."""
        match = _NAME.fullmatch(name)
        return cls(**match.groupdict()) if match else None

    @property
    def name(self) -> str:
        """Says all of it, and is safe as a part of an address or a path."""
        return f"{self.owner}.{self.kind}.{self.digest}{self.suffix}"

    def read(self, storage: Storage) -> bytes | None:
        """None where it isn't made, or could not be kept."""
        try:
            return storage.read(self._key)
        except OSError:
            return None

    def keep(self, storage: Storage, content: bytes) -> None:
        """Replaces earlier ones of its kind. What can't be kept is drawn again next time."""
        key = self._key
        try:
            if not storage.exists(key):
                write(storage, key, content, durable=False)
            beside = f"{key.rpartition('/')[0]}/{self.kind}."
            for earlier in list(storage.entries(beside)):
                if earlier.key != key and earlier.key.endswith(self.suffix):
                    storage.delete(earlier.key)
        except OSError as error:
            log.warning("a drawing can't be kept", key=key, storage=str(storage), error=str(error))

    @property
    def _key(self) -> str:
        name = f"{self.kind}.{self.digest}{self.suffix}"
        return f"{_FOLDERS[self.owner[0]]}/{self.owner[1:]}/{name}"


@cache
def _code_digest() -> str:
    """Of all that turns a report into a picture or a page: another version draws again."""
    root = Path(str(resources.files("studies")))
    paths = sorted((*root.rglob("*.py"), *root.rglob("templates/*")))
    return digest_of_parts(
        [metadata.version("matplotlib").encode(), *(p.read_bytes() for p in paths)]
    )
