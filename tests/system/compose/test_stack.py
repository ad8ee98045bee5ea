"""The compose file on a real engine: a study goes through it and outlives `down` and `up`.

Needs the image `normlab` (docker build -t normlab .) and the two base images; pulls and builds nothing.
"""

import os
import secrets
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml

from migrations.roles import PASSWORDS
from normlab import Client
from tests.support.waiting import free_port, wait_for

ROOT = Path(__file__).parents[3]
IMAGES = ("normlab:latest", "postgres:17", "redis:7")
MINUTE = 60.0

pytestmark = [pytest.mark.docker, pytest.mark.timeout(15 * MINUTE)]


class Stack:
    """One compose project with its own name, ports, volumes and secrets."""

    def __init__(self, command: list[str]) -> None:
        self.name = f"normlab-test-{os.getpid()}"
        self.token = f"nl_{secrets.token_hex(24)}"
        port = free_port()
        self.url = f"http://127.0.0.1:{port}"
        self.client = Client(self.url, self.token)
        self._command = [*command, "--project-name", self.name]
        self._environment = os.environ | {
            "POSTGRES_PASSWORD": secrets.token_hex(24),
            **{variable: secrets.token_hex(24) for variable in PASSWORDS.values()},
            "NORMLAB_BOOTSTRAP_TOKEN": self.token,
            "NORMLAB_API_PORT": str(port),
            "NORMLAB_MLFLOW_PORT": str(free_port()),
        }

    def run(self, *arguments: str) -> None:
        command = [*self._command, *arguments]
        done = subprocess.run(
            command, cwd=ROOT, env=self._environment, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stderr

    def up(self) -> None:
        """Returns when the API is ready."""
        self.run("up", "--detach", "--no-build")
        wait_for(self._is_ready, "the API is ready", 5 * MINUTE, pause=1.0)

    def _is_ready(self) -> bool:
        try:
            return httpx.get(f"{self.url}/readyz", timeout=5.0).status_code == httpx.codes.OK
        except httpx.TransportError:
            return False


@pytest.fixture(scope="module")
def stack() -> Iterator[Stack]:
    stack = Stack(_compose_command())
    try:
        stack.up()
        yield stack
    finally:
        stack.client.close()
        stack.run("down", "--volumes", "--remove-orphans")


def test_a_study_goes_through_and_outlives_down_and_up(stack: Stack) -> None:
    study = stack.client.submit(_small_study())
    assert stack.client.wait(study, timeout=8 * MINUTE)["status"] == "succeeded"
    before = stack.client.comparison(study)
    assert [row["n"] for row in before["variants"]] == [2, 2]
    stack.run("down")
    stack.up()
    assert stack.client.comparison(study) == before


def _small_study() -> dict[str, Any]:
    study: dict[str, Any] = yaml.safe_load((ROOT / "normlab" / "demo.yaml").read_text())
    study["base"]["training"]["epochs"] = 2
    variants = {name: study["variants"][name] for name in ("none", "batch")}
    return study | {"variants": variants, "seeds": 2}


def _compose_command() -> list[str]:
    docker = shutil.which("docker")
    if docker is None or subprocess.run([docker, "info"], capture_output=True).returncode:
        pytest.skip("no Docker engine answers")
    missing = [
        image
        for image in IMAGES
        if subprocess.run([docker, "image", "inspect", image], capture_output=True).returncode
    ]
    if missing:
        pytest.skip(f"images that are not here: {', '.join(missing)}")
    if subprocess.run([docker, "compose", "version"], capture_output=True).returncode == 0:
        return [docker, "compose"]
    if compose := shutil.which("docker-compose"):
        return [compose]
    pytest.skip("Docker has no compose command")
