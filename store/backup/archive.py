"""The folder of a backup: a manifest, dumps of databases, and contents of files under their digests.

It holds the newest backup only. The manifest is replaced last: a backup that is cut off leaves the one before it whole.
"""

import fcntl
import os
import secrets
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from hashlib import blake2b
from pathlib import Path

from pydantic import BaseModel, ConfigDict, ValidationError

from runtime.files import DIGEST_BYTES, digest_of_file, make_folder, sync, write_file

VERSION = 1
_MANIFEST = "manifest.json"
_CHUNK = 2**20


class BackupError(Exception):
    """The backup can't be made or restored."""


class _Row(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class SavedDatabase(_Row):
    """`dump`: the name of its file in the folder `databases`."""

    name: str
    dump: str
    digest: str
    bytes: int


class SavedFile(_Row):
    """`path` is relative to the home; its content lies under `digest`."""

    path: str
    digest: str
    bytes: int
    mode: int
    changed_ns: int


class Manifest(_Row):
    """What a backup consists of. `revision`: of the tables; `missing`: files that rows name and that could not be
    copied, each with the reason."""

    version: int = VERSION
    made_at: str
    normlab: str
    postgres: str
    revision: str
    storage: str | None
    databases: list[SavedDatabase]
    files: list[SavedFile]
    missing: dict[str, str]


class Archive:
    """The backup in a folder; what it holds is secret, since it has everybody's results and the first admin's token."""

    def __init__(self, folder: Path, *, quick: bool = False) -> None:
        """`quick`: content that has the right size is trusted, and not read."""
        self._is_quick = quick
        self._verified: set[str] = set()
        #: Digests of contents that this backup has found changed; they are copied again.
        self.damaged: set[str] = set()
        self.folder = folder.absolute()
        self.databases = self.folder / "databases"
        self._files = self.folder / "files"

    @contextmanager
    def prepare(self) -> Iterator[None]:
        """For one backup at a time. Raises BackupError for a folder that holds anything else."""
        if self.folder.exists() and not self.folder.is_dir():
            raise BackupError(f"{self.folder} is not a folder")
        ours = {_MANIFEST, "databases", "files", "lock"}
        names = {one.name for one in self.folder.iterdir()} if self.folder.exists() else set()
        # A manifest that was being written when its backup was killed.
        unfinished = {one for one in names if one.startswith(f".{_MANIFEST}.")}
        if others := names - ours - unfinished:
            raise BackupError(
                f"{self.folder} contains something other than a backup, such as {min(others)}: name a new or an empty folder"
            )
        make_folder(self.folder)
        self.folder.chmod(0o700)
        for folder in (self.databases, self._files):
            folder.mkdir(exist_ok=True)
        self._verified.clear()
        self.damaged.clear()
        with (self.folder / "lock").open("a") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise BackupError(f"another backup is being made in {self.folder}") from None
            for name in unfinished:
                (self.folder / name).unlink(missing_ok=True)
            yield

    def read(self) -> Manifest | None:
        """The newest complete backup; None if there is none. Raises BackupError for one of another version."""
        try:
            text = (self.folder / _MANIFEST).read_text()
        except FileNotFoundError:
            return None
        try:
            manifest = Manifest.model_validate_json(text)
        except ValidationError as error:
            raise BackupError(f"{self.folder / _MANIFEST} can't be read: {error}") from error
        if manifest.version != VERSION:
            raise BackupError(
                f"{self.folder} has version {manifest.version} of backups, and this Normlab reads version {VERSION}: "
                "use the Normlab that made it"
            )
        return manifest

    def publish(self, manifest: Manifest) -> None:
        """From now on this is the backup, and what only an earlier one needed is deleted."""
        write_file(self.folder / _MANIFEST, manifest.model_dump_json(indent=1).encode())
        _keep(self.databases, {one.dump for one in manifest.databases})
        digests = {one.digest for one in manifest.files}
        for folder in self._files.iterdir():
            _keep(folder, digests)

    def has(self, digest: str, size: int) -> bool:
        """Whether the content is here, and what it was: a disk may have changed it since."""
        place = self._place(digest)
        try:
            if place.stat().st_size != size:
                return False
        except FileNotFoundError:
            return False
        if digest in self._verified or self._is_quick:
            return True
        if digest_of_file(place) != digest:
            self.damaged.add(digest)
            return False
        self._verified.add(digest)
        return True

    def add(self, path: Path) -> tuple[str, int]:
        """Copies the file unless its content is here; returns its digest and size. Raises OSError."""
        unfinished = self._files / f".{secrets.token_hex(8)}.tmp"
        try:
            digest, size = copy(path, unfinished)
            if not self.has(digest, size):
                place = self._place(digest)
                make_folder(place.parent)
                unfinished.replace(place)
                self._verified.add(digest)
        finally:
            unfinished.unlink(missing_ok=True)
        return digest, size

    def extract(self, file: SavedFile, path: Path) -> None:
        """Raises BackupError where the content is missing or was changed."""
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            digest, _ = copy(self._place(file.digest), path, mode=file.mode)
        except FileNotFoundError:
            raise BackupError(
                f"the backup {self.folder} is damaged: it lacks {file.path} ({file.digest})"
            ) from None
        if digest != file.digest:
            raise BackupError(f"the backup {self.folder} is damaged: {file.path} was changed in it")

    def dump_of(self, database: SavedDatabase) -> Path:
        """Raises BackupError where it is missing or was changed."""
        path = self.databases / database.dump
        if not path.exists() or digest_of_file(path) != database.digest:
            raise BackupError(
                f"the backup {self.folder} is damaged: {path} is missing or was changed"
            )
        return path

    def sync(self) -> None:
        """Waits until the folders' entries are on the disk."""
        for folder in (self.databases, self._files, *self._files.iterdir()):
            sync(folder)

    def _place(self, digest: str) -> Path:
        # Of a digest that somebody wrote into a manifest, nothing may lead out of the folder.
        if not digest.isalnum():
            raise BackupError(f"{digest!r} in the manifest of {self.folder} is no digest")
        return self._files / digest[:2] / digest


def copy(source: Path, target: Path, mode: int = 0o600) -> tuple[str, int]:
    """A new file on the disk; returns the digest and the size of what was copied."""
    digest, size = blake2b(digest_size=DIGEST_BYTES), 0
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL
    with source.open("rb") as read, os.fdopen(os.open(target, flags, mode), "wb") as written:
        while chunk := read.read(_CHUNK):
            digest.update(chunk)
            written.write(chunk)
            size += len(chunk)
        written.flush()
        os.fsync(written.fileno())
    return digest.hexdigest(), size


def _keep(folder: Path, names: Collection[str]) -> None:
    if not folder.is_dir():
        folder.unlink(missing_ok=True)
        return
    for path in folder.iterdir():
        if path.name not in names:
            path.unlink(missing_ok=True)
