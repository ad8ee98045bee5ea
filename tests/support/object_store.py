"""A real server that speaks S3, on this machine; started once per session, by who needs it."""

import secrets
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.error import URLError
from urllib.request import urlopen

import pytest

from runtime.storage import ObjectStore
from tests.support.waiting import free_port

_STARTS_WITHIN_SECONDS = 120
CACHE_BYTES = 10**9
#: What everybody who talks to it has in the environment; the server believes any of them.
CREDENTIALS = {
    "AWS_ACCESS_KEY_ID": "a-name",
    "AWS_SECRET_ACCESS_KEY": "a-secret-of-the-tests",
    "AWS_EC2_METADATA_DISABLED": "true",
}


@pytest.fixture(scope="session")
def object_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The server's address; this process and those that it starts have credentials for it."""
    port, log = free_port(), tmp_path_factory.mktemp("object-server") / "log"
    with pytest.MonkeyPatch.context() as patch, log.open("wb") as file:
        for name, value in CREDENTIALS.items():
            patch.setenv(name, value)
        command = [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)]
        process = subprocess.Popen(command, stdout=file, stderr=file)
        try:
            url = f"http://127.0.0.1:{port}"
            _wait_until_ready(url, process, log)
            yield url
        finally:
            process.terminate()
            process.wait(timeout=120)


def _wait_until_ready(url: str, process: "subprocess.Popen[bytes]", log: Path) -> None:
    deadline = time.monotonic() + _STARTS_WITHIN_SECONDS
    while True:
        assert process.poll() is None, log.read_text()
        try:
            with urlopen(f"{url}/moto-api/data.json", timeout=30):
                return
        except (URLError, OSError):
            assert time.monotonic() < deadline, log.read_text()
            time.sleep(0.1)


@pytest.fixture
def bucket(object_server: str) -> str:
    """The name of a new one."""
    name = f"normlab-{secrets.token_hex(4)}"
    client_of(object_server).create_bucket(Bucket=name)
    return name


def client_of(url: str) -> Any:
    """boto's, to do what Normlab doesn't."""
    import boto3

    return boto3.client("s3", endpoint_url=url, region_name="us-east-1")


def object_store(
    url: str, bucket: str, folder: Path, cache_bytes: int = CACHE_BYTES
) -> ObjectStore:
    """As the host sees it whose copies are in the folder."""
    return ObjectStore(bucket, "lab", folder, endpoint=url, cache_bytes=cache_bytes)
