"""A real MLflow server on the tests' PostgreSQL, in a database of its own; started once per session."""

import os
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from urllib.error import URLError
from urllib.request import urlopen

import pytest

from migrations.roles import ACCESS
from normlab.stack.mlflow_server import HEALTH_PATH, server_command, server_environment
from normlab.stack.servers import Postgres
from tests.support.waiting import free_port

_STARTS_WITHIN_SECONDS = 120


#: The mirror's in this server, and what tests write with that need no mirror.
MIRROR_TOKEN = "the mirror of the tests, nobody else"


@pytest.fixture(scope="session")
def mlflow_server(
    postgres: Postgres, database_url: str, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[str]:
    """The server's URL. MLflow's client in this process, and in those that it starts, logs in as the mirror."""
    folder = tmp_path_factory.mktemp("mlflow")
    postgres.create_databases("mlflow")
    process = _start(postgres, folder)
    url = f"http://127.0.0.1:{process.port}"
    try:
        _wait_until_ready(url, process, folder / "log")
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("MLFLOW_TRACKING_USERNAME", "the tests")
            patch.setenv("MLFLOW_TRACKING_PASSWORD", MIRROR_TOKEN)
            yield url
    finally:
        process.terminate()
        process.wait(timeout=120)


class _Server(subprocess.Popen[bytes]):
    port: int


def _start(postgres: Postgres, folder: Path) -> _Server:
    port = free_port()
    # As in compose, where others call it by the name of its service, and people by that of a proxy.
    environment = server_environment(
        postgres.url("mlflow"),
        access_url=postgres.url("normlab", ACCESS),
        mirror_token=MIRROR_TOKEN,
        allowed_hosts="mlflow:5000,127.0.0.1:*,localhost:*",
    ) | {"NORMLAB_PUBLIC_MLFLOW_URL": "https://normlab.example:5443/"}
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
