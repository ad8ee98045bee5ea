"""Files that are complete or not there at all, known by the digest of their bytes.

DamagedFile
    a file that is missing, cut short or changed
"""

import hashlib
import os
import secrets
from collections.abc import Callable, Iterable
from pathlib import Path

#: Bytes of every digest of content.
DIGEST_BYTES = 16
_CHUNK = 2**20


class DamagedFile(Exception):
    """The file is not what was written."""


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
    """Raises DamagedFile unless the file has this digest."""
    try:
        content = path.read_bytes()
    except OSError as error:
        raise DamagedFile(f"{path.name} can't be read ({error.strerror})") from error
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
