"""The folder of an export: what is in it already, what arrives, and the manifest of all of it."""

import fcntl
import hashlib
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import IO, Any, Protocol, Self

from normlab.client import inside
from normlab.errors import NormlabError

MANIFEST = "manifest.json"
#: What a repeated export goes on from; nothing else needs it.
PARTS = ".parts"

_FORMAT = 1
_CHUNK = 2**20


class Progress(Protocol):
    """How far an export is, for a person."""

    def begin(self, what: str, total: int) -> None: ...

    def advance(self, count: int = 1) -> None: ...


@dataclass(frozen=True, slots=True)
class Digests:
    """Of one file; `service` is the digest by which the service knows content: blake2b, 16 bytes, hex."""

    bytes: int
    sha256: str
    service: str


@dataclass(slots=True)
class ExportFolder:
    """Entered by one process at a time. A file that was received stays in its journal, from which a repeated export
    knows that it need not ask for it again."""

    root: Path
    service: str
    started_at: str = field(default_factory=lambda: _now())
    problems: list[str] = field(default_factory=list)
    _files: dict[str, dict[str, Any]] = field(default_factory=dict)
    _received: dict[str, dict[str, Any]] = field(default_factory=dict)
    _journal: IO[str] | None = None
    _lock: IO[str] | None = None

    def __enter__(self) -> Self:
        try:
            self._open()
        except OSError as error:
            raise NormlabError(f"{self.root} cannot be written: {error.strerror}") from error
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        for file in (self._journal, self._lock):
            if file is not None:
                file.close()

    @property
    def parts(self) -> Path:
        return self.root / PARTS

    def path(self, name: str) -> Path:
        """The file of this name, which must be inside the folder; its folder is there."""
        path = inside(self.root, name)
        path.parent.mkdir(parents=True, exist_ok=True)
        return path

    def write(self, name: str, content: bytes) -> None:
        """A document, as it is now."""
        self.place(name, lambda unfinished: unfinished.write_bytes(content))

    def place(self, name: str, make: Callable[[Path], object], **facts: Any) -> None:
        """A file that `make` writes under the path it is given. It has its name once it is complete."""
        path = self.path(name)
        unfinished = path.with_name(f"{path.name}.part")
        try:
            make(unfinished)
            # What converts may have made it for its own user only.
            unfinished.chmod((self.parts / "lock").stat().st_mode)
            digests = digests_of(unfinished)
            unfinished.replace(path)
        finally:
            unfinished.unlink(missing_ok=True)
        self._files[name] = {"bytes": digests.bytes, "sha256": digests.sha256, **facts}

    def receive(self, name: str, source: str, make: Callable[[Path], object]) -> bool:
        """As `place`, of content that the service knows by the digest `source`; False if it was there already."""
        earlier = self._received.get(name)
        if earlier is not None and earlier["source"] == source and self._is_whole(name, earlier):
            self._files[name] = earlier
            return False
        self.place(name, make, source=source)
        assert self._journal is not None
        self._journal.write(json.dumps({"name": name, **self._files[name]}) + "\n")
        self._journal.flush()
        return True

    def finish(self, **facts: Any) -> None:
        """Writes the manifest, which names every file of this export."""
        manifest = {
            "format": _FORMAT,
            "service": self.service,
            "started_at": self.started_at,
            "finished_at": _now(),
            **facts,
            "problems": self.problems,
            "files": dict(sorted(self._files.items())),
        }
        text = json.dumps(manifest, indent=1, ensure_ascii=False) + "\n"
        unfinished = self.root / f"{MANIFEST}.part"
        unfinished.write_text(text, encoding="utf-8")
        unfinished.replace(self.root / MANIFEST)

    def _open(self) -> None:
        if self.root.exists() and any(self.root.iterdir()) and not self.parts.is_dir():
            raise NormlabError(
                f"{self.root} is not empty and holds no earlier export: name a new folder"
            )
        self.parts.mkdir(parents=True, exist_ok=True)
        self._lock = (self.parts / "lock").open("w")
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise NormlabError(f"another export into {self.root} is running") from None
        self._ensure_same_service()
        journal = self.parts / "files.jsonl"
        self._received = _read_journal(journal)
        self._journal = journal.open("a", encoding="utf-8")

    def _ensure_same_service(self) -> None:
        """Job 12 of another service is another job."""
        origin = self.parts / "service"
        if not origin.exists():
            origin.write_text(self.service)
        elif (earlier := origin.read_text()) != self.service:
            raise NormlabError(
                f"{self.root} holds an export of {earlier}, and this is {self.service}: name another folder"
            )

    def _is_whole(self, name: str, earlier: Mapping[str, Any]) -> bool:
        try:
            return bool(digests_of(inside(self.root, name)).sha256 == earlier["sha256"])
        except FileNotFoundError:
            return False


def digests_of(path: Path) -> Digests:
    sha256, service, size = hashlib.sha256(), hashlib.blake2b(digest_size=16), 0
    with path.open("rb") as file:
        while chunk := file.read(_CHUNK):
            sha256.update(chunk)
            service.update(chunk)
            size += len(chunk)
    return Digests(size, sha256.hexdigest(), service.hexdigest())


def _read_journal(path: Path) -> dict[str, dict[str, Any]]:
    received: dict[str, dict[str, Any]] = {}
    if path.exists():
        for line in path.read_text(encoding="utf-8").splitlines():
            try:
                entry = json.loads(line)
            except ValueError:
                # The last line of an export that was killed.
                continue
            received[entry.pop("name")] = entry
    return received


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")
