"""From what the environment says to the storage: a folder's path, or `s3://bucket/prefix`."""

import os
from pathlib import Path
from urllib.parse import urlsplit

from runtime.files import digest_of
from runtime.storage.folder import FolderStorage
from runtime.storage.interface import Storage
from runtime.storage.object_store import ObjectStore

#: Copies on this host, where nothing else is said.
CACHE_BYTES = 20 * 10**9
_SCHEME = "s3://"


def is_object_store(location: str) -> bool:
    """Whether it is an address, and no path of a folder."""
    return location.startswith(_SCHEME)


def open_storage(
    location: str | Path,
    *,
    endpoint: str | None = None,
    cache: Path | None = None,
    cache_bytes: int = CACHE_BYTES,
) -> Storage:
    """Raises ValueError for what is no place. `cache`: the folder for copies of an object store; each store gets
    its own below it."""
    text = str(location)
    if isinstance(location, Path) or "://" not in text:
        return FolderStorage(Path(location).resolve())
    if not is_object_store(text):
        scheme = text.partition("://")[0]
        raise ValueError(f"must be a folder or s3://bucket/prefix, but is {scheme}://…")
    bucket, prefix = _parse(text)
    place = (cache or _default_cache()).expanduser().resolve()
    # Two stores never share copies: their keys are the same.
    name = digest_of(f"{endpoint} {bucket}/{prefix}")[:8]
    root = place / f"{bucket}-{name}"
    return ObjectStore(bucket, prefix, root, endpoint=_checked(endpoint), cache_bytes=cache_bytes)


def _parse(text: str) -> tuple[str, str]:
    parts = urlsplit(text)
    if "@" in parts.netloc:
        # Not repeated: it holds a secret.
        raise ValueError(
            "must not hold credentials: set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY"
        )
    if not parts.netloc or parts.query or parts.fragment or ":" in parts.netloc:
        raise ValueError("must be s3://bucket/prefix; the server's address is NORMLAB_S3_ENDPOINT")
    return parts.netloc, parts.path.strip("/")


def _checked(endpoint: str | None) -> str | None:
    if not endpoint:
        return None
    parts = urlsplit(endpoint)
    if "@" in parts.netloc:
        raise ValueError(
            "NORMLAB_S3_ENDPOINT must not hold credentials: set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY"
        )
    if parts.scheme not in ("http", "https") or not parts.netloc:
        raise ValueError("NORMLAB_S3_ENDPOINT must be an address like https://minio.example:9000")
    return endpoint


def _default_cache() -> Path:
    return Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache") / "normlab"
