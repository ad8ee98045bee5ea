"""An object store that speaks S3, by boto3 (the extra `s3`), with copies on this host.

boto3 is pure Python and keeps no threads, so that a process may fork after it has used it. It finds credentials by
itself (AWS_ACCESS_KEY_ID, a file, a role): nothing here sees them.
"""

import errno
import os
import secrets
from collections.abc import Iterator
from contextlib import closing, contextmanager
from email.utils import parsedate_to_datetime
from hashlib import blake2b
from pathlib import Path
from typing import Any

from runtime.files import DIGEST_BYTES, DamagedFile, digest_of_file, make_folder
from runtime.storage.interface import Entry, Progress, StorageAway, StorageError, no_progress
from runtime.storage.local_copies import LocalCopies

_CHUNK = 2**20
#: Beyond this, a file is sent in parts.
_PART_BYTES = 64 * 2**20
_CONNECT_SECONDS, _READ_SECONDS, _TRIES = 5, 60, 2
#: What a store says when the same request may succeed later.
_PASSING = ("InternalError", "RequestTimeout", "ServiceUnavailable", "SlowDown", "Throttling")
_MISSING = ("404", "NoSuchKey", "NotFound")


class ObjectStore:
    """`root` has the copies; several processes of a host share it."""

    def __init__(
        self, bucket: str, prefix: str, root: Path, *, endpoint: str | None, cache_bytes: int
    ) -> None:
        self._bucket = bucket
        self._prefix = f"{prefix}/" if prefix else ""
        self._root = root
        self._endpoint = endpoint
        self._copies = LocalCopies(root, cache_bytes)
        self._made: tuple[int, Any] | None = None

    def __str__(self) -> str:
        at = f" at {self._endpoint}" if self._endpoint else ""
        return f"s3://{self._bucket}/{self._prefix}".rstrip("/") + at

    @property
    def root(self) -> Path:
        return self._root

    @property
    def is_remote(self) -> bool:
        return True

    def put(self, key: str, digest: str, progress: Progress = no_progress) -> None:
        path = self._root / key
        with path.open("rb") as file, self._explained(key):
            self._client.upload_fileobj(
                file,
                self._bucket,
                self._prefix + key,
                ExtraArgs={"Metadata": {"blake2b": digest}},
                Callback=lambda _: progress(),
                Config=_transfer_settings(),
            )
        self._copies.note_stored(path)

    def fetch(
        self, key: str, digest: str, path: Path | None = None, progress: Progress = no_progress
    ) -> Path:
        place = path or self._root / key
        if place.exists() and digest_of_file(place, progress) == digest:
            self._copies.note_used(place)
            return place
        make_folder(place.parent)
        unfinished = place.with_name(f".{place.name}.{secrets.token_hex(4)}.tmp")
        try:
            self._download(key, digest, unfinished, progress)
            unfinished.replace(place)
        finally:
            unfinished.unlink(missing_ok=True)
        self._copies.note_stored(place)
        return place

    def read(self, key: str) -> bytes:
        with self._explained(key):
            answer = self._client.get_object(Bucket=self._bucket, Key=self._prefix + key)
            with closing(answer["Body"]) as body:
                content: bytes = body.read()
                return content

    def exists(self, key: str) -> bool:
        try:
            with self._explained(key):
                self._client.head_object(Bucket=self._bucket, Key=self._prefix + key)
        except FileNotFoundError:
            return False
        return True

    def delete(self, key: str) -> None:
        if Path(os.path.normpath(self._root / key)).is_relative_to(self._root):
            (self._root / key).unlink(missing_ok=True)
        with self._explained(key):
            self._client.delete_object(Bucket=self._bucket, Key=self._prefix + key)

    def entries(self, prefix: str) -> Iterator[Entry]:
        with self._explained(prefix):
            pages = self._client.get_paginator("list_objects_v2").paginate(
                Bucket=self._bucket, Prefix=self._prefix + prefix
            )
            for page in pages:
                for one in page.get("Contents", ()):
                    key = one["Key"].removeprefix(self._prefix)
                    yield Entry(key, one["Size"], one["LastModified"].timestamp())

    def now(self) -> float:
        with self._explained(""):
            answer = self._client.list_objects_v2(
                Bucket=self._bucket, Prefix=self._prefix, MaxKeys=1
            )
        said: str = answer["ResponseMetadata"]["HTTPHeaders"]["date"]
        return parsedate_to_datetime(said).timestamp()

    def _download(self, key: str, digest: str, path: Path, progress: Progress) -> None:
        content = blake2b(digest_size=DIGEST_BYTES)
        with self._explained(key), path.open("xb") as file:
            answer = self._client.get_object(Bucket=self._bucket, Key=self._prefix + key)
            with closing(answer["Body"]) as body:
                for chunk in body.iter_chunks(_CHUNK):
                    file.write(chunk)
                    content.update(chunk)
                    progress()
        if content.hexdigest() != digest:
            raise DamagedFile(f"{key} in {self} has another digest than when it was written")

    @property
    def _client(self) -> Any:
        # A process that was forked must not write to its parent's connections.
        if self._made is None or self._made[0] != os.getpid():
            self._made = os.getpid(), _make_client(self._endpoint)
        return self._made[1]

    @contextmanager
    def _explained(self, key: str) -> Iterator[None]:
        """boto's errors as ours, which say what and where; a missing object is a FileNotFoundError."""
        # Asked for first: without boto3 it says what to install.
        exceptions = _require_boto().exceptions
        try:
            yield
        except exceptions.ClientError as error:
            raise self._explain_refusal(key, error) from None
        except exceptions.BotoCoreError as error:
            passes = (
                exceptions.ConnectionError, exceptions.HTTPClientError, exceptions.IncompleteReadError,
            )  # fmt: skip
            is_away = isinstance(error, passes) and not isinstance(error, exceptions.SSLError)
            kind = StorageAway if is_away else StorageError
            raise kind(f"the object store {self} can't be used: {error}{_remedy(error)}") from None

    def _explain_refusal(self, key: str, error: Any) -> OSError:
        said = error.response.get("Error", {})
        code, text = str(said.get("Code", "")), said.get("Message") or "no reason given"
        if code in _MISSING:
            return FileNotFoundError(errno.ENOENT, f"not in the object store {self}", key)
        status = error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)
        kind = StorageAway if status >= 500 or code in _PASSING else StorageError
        what = f"{error.operation_name} of {key!r}" if key else error.operation_name
        return kind(f"the object store {self} refuses {what}: {text} ({code})")


def _remedy(error: Exception) -> str:
    if type(error).__name__ in ("NoCredentialsError", "PartialCredentialsError"):
        return "; set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY"
    return ""


def _require_boto() -> Any:
    """Imported when it is first needed: it takes a second, and who uses a folder need not have it."""
    try:
        import boto3  # noqa: F401 - the client is made by it
        import botocore.exceptions
    except ImportError:
        raise StorageError(
            "an object store as NORMLAB_STORAGE needs boto3: pip install 'normlab[s3]'"
        ) from None
    return botocore


def _make_client(endpoint: str | None) -> Any:
    import boto3
    from botocore.config import Config

    session = boto3.session.Session()
    config = Config(
        connect_timeout=_CONNECT_SECONDS,
        read_timeout=_READ_SECONDS,
        retries={"mode": "standard", "total_max_attempts": _TRIES},
        # Other servers than Amazon's don't know the newer checksums; ours are in the rows.
        request_checksum_calculation="when_required",
        response_checksum_validation="when_required",
        s3={"addressing_style": "path" if endpoint else "auto"},
    )
    region = session.region_name or "us-east-1"
    return session.client("s3", endpoint_url=endpoint, region_name=region, config=config)


def _transfer_settings() -> Any:
    from boto3.s3.transfer import TransferConfig

    # By this thread alone: a thread of its own per part would be more than a training has.
    return TransferConfig(
        multipart_threshold=_PART_BYTES, multipart_chunksize=_PART_BYTES, use_threads=False
    )
