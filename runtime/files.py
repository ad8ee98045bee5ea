"""Files that are complete or not there at all, known by the digest of their bytes; and what dead processes left.

DamagedFile
    a file that is missing, cut short or changed
"""

import fcntl
import hashlib
import os
import secrets
import shutil
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

#: Bytes of every digest of content.
DIGEST_BYTES = 16
_CHUNK = 2**20
#: What changed later may not be locked yet.
_LOCKED_SECONDS = 60.0


class DamagedFile(Exception):
    """The file is not what was written."""


class UnreadableFile(DamagedFile):
    """A file can't be read here and now; that may be due to this host, or to its version of the code."""


def digest_of(content: bytes | memoryview | str) -> str:
    """blake2b, 16 bytes, hex; of text: of its UTF-8."""
    encoded = content.encode() if isinstance(content, str) else content
    return hashlib.blake2b(encoded, digest_size=DIGEST_BYTES).hexdigest()


def digest_of_file(path: Path, progress: Callable[[], None] = lambda: None) -> str:
    """As `digest_of` of its content, however large; `progress` is called again and again meanwhile."""
    digest = hashlib.blake2b(digest_size=DIGEST_BYTES)
    with path.open("rb") as file:
        while chunk := file.read(_CHUNK):
            digest.update(chunk)
            progress()
    return digest.hexdigest()


def digest_of_parts(parts: Iterable[bytes]) -> str:
    """As `digest_of`, with the length of each part, so that moving a byte from one to the next changes it."""
    digest = hashlib.blake2b(digest_size=DIGEST_BYTES)
    for part in parts:
        digest.update(len(part).to_bytes(8, "big"))
        digest.update(part)
    return digest.hexdigest()


def write_file(path: Path, content: bytes | memoryview, *, durable: bool = True) -> None:
    """Creates missing folders, and replaces a file that is there. Several processes may write the same path.

    `durable`: it outlives a power cut once this returns.
    """
    make_folder(path.parent) if durable else path.parent.mkdir(parents=True, exist_ok=True)
    # A name of its own, and not `tempfile`: the file's mode is what the umask says.
    unfinished = path.with_name(f".{path.name}.{secrets.token_hex(4)}.tmp")
    try:
        with unfinished.open("xb") as file:
            file.write(content)
            if durable:
                file.flush()
                os.fsync(file.fileno())
        unfinished.replace(path)
    finally:
        # Also a part of one, which a full disk leaves.
        unfinished.unlink(missing_ok=True)
    if durable:
        sync(path.parent)


def read_verified(path: Path, digest: str) -> bytes:
    """Raises DamagedFile unless the file has this digest, and UnreadableFile where that can't be told."""
    try:
        content = path.read_bytes()
    except OSError as error:
        raise UnreadableFile(f"{path.name} can't be read ({error.strerror})") from error
    if digest_of(content) != digest:
        raise DamagedFile(f"{path.name} has another digest than when it was written")
    return content


def make_folder(folder: Path) -> None:
    """Creates the folder and its missing parents so that they outlive a power cut."""
    if not folder.exists():
        make_folder(folder.parent)
        folder.mkdir(exist_ok=True)
        sync(folder.parent)


def sync(path: Path) -> None:
    """Waits until the file's content, or the folder's entries, are on the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextmanager
def unfinished_folder(parent: Path, prefix: str) -> Iterator[Path]:
    """A new folder that only its owner can enter, gone afterwards unless it has been renamed; `is_abandoned` once this
    process is dead."""
    folder = Path(tempfile.mkdtemp(prefix=prefix, dir=parent))
    try:
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            mark_in_use(descriptor)
            yield folder
        finally:
            os.close(descriptor)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def mark_in_use(descriptor: int) -> None:
    """Until it is closed, also by the end of the process."""
    with suppress(OSError):  # Not every file system has locks; on those nothing is ever abandoned.
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)


def is_abandoned(path: Path) -> bool:
    """Whether no living process has the file or the folder in use, nor has just made it, on this host or on another."""
    try:
        descriptor = os.open(path, os.O_RDONLY)
    except OSError:
        return False
    try:
        parts = (path, *path.iterdir()) if path.is_dir() else (path,)
        if time.time() - max(one.stat().st_mtime for one in parts) < _LOCKED_SECONDS:
            return False
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    else:
        return True
    finally:
        os.close(descriptor)
