"""Finished pages and figures in the storage: one of a kind per study or job, the newest."""

import hashlib
import re
import tempfile
from dataclasses import dataclass
from functools import cache
from importlib import metadata, resources
from pathlib import Path
from typing import Self

import structlog

log = structlog.get_logger(__name__)

#: By the letter of an owner: where its drawings are.
_FOLDERS = {"s": "studies", "j": "job_drawings"}
_NAME = re.compile(
    r"(?P<owner>[sj][1-9]\d{0,18})\.(?P<kind>[a-z0-9_-]+)\.(?P<digest>[0-9a-f]{32})(?P<suffix>\.[a-z]+)"
)


@dataclass(frozen=True, slots=True)
class Drawing:
    """Of a study (`s3`) or a job (`j12`); `kind` is `report`, `figure-<name>` or `curves-<options>`, `digest`
    that of all that it is made of."""

    owner: str
    kind: str
    suffix: str
    digest: str

    @classmethod
    def of(cls, owner: str, kind: str, suffix: str, content: str) -> Self:
        """`content`: what goes into it, or a digest of that."""
        digest = hashlib.blake2b(f"{content} {_drawn_by()}".encode(), digest_size=16)
        return cls(owner, kind, suffix, digest.hexdigest())

    @classmethod
    def parse(cls, name: str) -> Self | None:
        """None for what isn't a drawing's name."""
        found = _NAME.fullmatch(name)
        return cls(**found.groupdict()) if found else None

    @property
    def name(self) -> str:
        """Says all of it, and is safe as a part of an address or a path."""
        return f"{self.owner}.{self.kind}.{self.digest}{self.suffix}"

    def read(self, storage: Path) -> bytes | None:
        """None where it isn't finished."""
        try:
            return self._path(storage).read_bytes()
        except OSError:
            return None

    def keep(self, storage: Path, content: bytes) -> None:
        """In the place of earlier ones. What can't be kept is drawn again next time."""
        path = self._path(storage)
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            with tempfile.NamedTemporaryFile(dir=path.parent, delete=False) as file:
                file.write(content)
            try:
                Path(file.name).replace(path)
            finally:
                Path(file.name).unlink(missing_ok=True)
            for earlier in path.parent.glob(f"{self.kind}.*{self.suffix}"):
                if earlier != path:
                    earlier.unlink(missing_ok=True)
        except OSError as error:
            log.warning("a drawing can't be kept", path=str(path), error=str(error))

    def _path(self, storage: Path) -> Path:
        name = f"{self.kind}.{self.digest}{self.suffix}"
        return storage / _FOLDERS[self.owner[0]] / self.owner[1:] / name


@cache
def _drawn_by() -> str:
    """Digest of all that turns a report into a drawing: another one draws anew."""
    digest = hashlib.blake2b(metadata.version("matplotlib").encode(), digest_size=16)
    root = Path(str(resources.files("studies")))
    for path in sorted((*root.glob("*.py"), *root.glob("templates/*"))):
        digest.update(path.read_bytes())
    return digest.hexdigest()
