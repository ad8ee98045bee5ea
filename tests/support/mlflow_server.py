"""A real MLflow server on the tests' PostgreSQL, in a database of its own; started once per session."""

import os
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from urllib.error import URLError
from urllib.request import urlopen

import pytest

from normlab.stack.mlflow_server import HEALTH_PATH, server_command, server_environment
from normlab.stack.servers import Postgres
from tests.support.waiting import free_port

_STARTS_WITHIN_SECONDS = 120


@pytest.fixture(scope="session")
def mlflow_server(postgres: Postgres, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The server's URL."""
    folder = tmp_path_factory.mktemp("mlflow")
    postgres.create_databases("mlflow")
    process = _start(postgres.url("mlflow"), folder)
    url = f"http://127.0.0.1:{process.port}"
    try:
        _wait_until_ready(url, process, folder / "log")
        yield url
    finally:
        process.terminate()
        process.wait(timeout=120)


class _Server(subprocess.Popen[bytes]):
    port: int


def _start(database_url: str, folder: Path) -> _Server:
    port = free_port()
    # As in compose, where others call it by the name of its service.
    environment = server_environment(database_url, "mlflow:5000,127.0.0.1:*,localhost:*")
    with (folder / "log").open("wb") as log:
        process = _Server(
            server_command(artifacts=folder / "artifacts", port=port),
            env={**os.environ, **environment},
            stdout=log,
            stderr=subprocess.STDOUT,
        )
    process.port = port
    return process


def _wait_until_ready(url: str, process: _Server, log: Path) -> None:
    deadline = time.monotonic() + _STARTS_WITHIN_SECONDS
    while time.monotonic() < deadline and process.poll() is None:
        try:
            with urlopen(url + HEALTH_PATH, timeout=5):
                return
        except (URLError, OSError):
            time.sleep(0.2)
    process.kill()
    pytest.fail(f"MLflow's server did not start:\n{log.read_text()[-4000:]}")
