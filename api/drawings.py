"""Finished pages and figures of reports in the storage: one of a kind per study, the newest. Knows no HTTP and
no database."""

import hashlib
import tempfile
from dataclasses import dataclass
from functools import cache
from importlib import metadata, resources
from pathlib import Path

import structlog

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Drawing:
    """Of a study's report with this digest; `kind` is `report` or `figure-<name>`."""

    study_id: int
    kind: str
    suffix: str
    digest: str

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
        digest = hashlib.blake2b(f"{self.digest} {_drawn_by()}".encode(), digest_size=16)
        name = f"{self.kind}.{digest.hexdigest()}{self.suffix}"
        return storage / "studies" / str(self.study_id) / name


@cache
def _drawn_by() -> str:
    """Digest of all that turns a report into a drawing: another one draws anew."""
    digest = hashlib.blake2b(metadata.version("matplotlib").encode(), digest_size=16)
    root = Path(str(resources.files("studies")))
    for path in sorted((*root.glob("*.py"), *root.glob("templates/*"))):
        digest.update(path.read_bytes())
    return digest.hexdigest()
