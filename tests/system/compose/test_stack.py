"""The compose file on a real engine: a study goes through it and outlives `down` and `up`.

Needs the image `normlab` (docker build -t normlab .) and the two base images; pulls and builds nothing.
"""

import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml

from normlab import Client
from tests.support.waiting import free_port, wait_for

ROOT = Path(__file__).parents[3]
IMAGES = ("normlab:latest", "postgres:17", "redis:7")
MINUTE = 60.0

pytestmark = [pytest.mark.docker, pytest.mark.timeout(15 * MINUTE)]


class Stack:
    """One compose project with its own name, ports, volumes and secrets."""

    def __init__(self, command: list[str], folder: Path) -> None:
        self.name = f"normlab-test-{os.getpid()}"
        subprocess.run([ROOT / "deploy/make-secrets", folder], cwd=folder.parent, check=True)
        self.secrets = {path.name: path.read_text().strip() for path in folder.iterdir()}
        self.token = self.secrets["bootstrap_token"]
        port, mlflow_port = free_port(), free_port()
        self.mlflow_url = f"http://127.0.0.1:{mlflow_port}"
        self.url = f"http://127.0.0.1:{port}"
        self.client = Client(self.url, self.token)
        self._command = [*command, "--project-name", self.name]
        self._environment = os.environ | {
            "NORMLAB_SECRETS": str(folder),
            "NORMLAB_API_PORT": str(port),
            "NORMLAB_MLFLOW_PORT": str(mlflow_port),
        }

    def run(self, *arguments: str) -> str:
        """What it prints."""
        command = [*self._command, *arguments]
        done = subprocess.run(
            command, cwd=ROOT, env=self._environment, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

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
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    stack = Stack(_compose_command(), tmp_path_factory.mktemp("compose") / "secrets")
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
    _wait_for_mlflow(stack)
    stack.run("run", "--rm", "mirror", "python", "-m", "worker.mirror", "--verify")


@pytest.mark.parametrize("service", ["api", "mirror", "mlflow", "sweep", "worker-cpu"])
def test_a_service_writes_into_its_home_and_its_volumes_only(stack: Stack, service: str) -> None:
    probe = "test $(id -u) != 0 && touch ~/probe /tmp/probe && ! touch /probe && ! touch /srv/probe"
    stack.run("exec", "-T", service, "sh", "-c", probe)


def test_two_workers_have_a_name_each(stack: Stack) -> None:
    stack.run("up", "--detach", "--no-build", "--scale", "worker-cpu=2")

    def names() -> set[str]:
        headers = {"Authorization": f"Bearer {stack.token}"}
        answer = httpx.get(f"{stack.url}/api/v1/workers", headers=headers).raise_for_status()
        return {host["host"] for host in answer.json()["items"] if host["claims"]}

    wait_for(lambda: names() == {"worker-cpu-1", "worker-cpu-2"}, "both work", 5 * MINUTE)


def test_mlflow_asks_for_a_token(stack: Stack) -> None:
    _wait_for_mlflow(stack)
    search = f"{stack.mlflow_url}/api/2.0/mlflow/experiments/search?max_results=1"
    assert httpx.get(search).status_code == 401
    headers = {"Authorization": f"Bearer {stack.token}"}
    assert httpx.get(search, headers=headers).status_code == 200


def test_no_description_of_a_container_shows_a_secret(stack: Stack) -> None:
    containers = stack.run("ps", "--all", "--quiet").split()
    described = subprocess.check_output(["docker", "inspect", *containers], text=True)
    assert "NORMLAB_API_DATABASE_PASSWORD_FILE" in described
    assert [name for name, secret in stack.secrets.items() if secret in described] == []


def _wait_for_mlflow(stack: Stack) -> None:
    """Until it answers, and has what the mirror wrote."""
    headers = {"Authorization": f"Bearer {stack.secrets['metrics_token']}"}

    def is_level() -> bool:
        try:
            httpx.get(f"{stack.mlflow_url}/health", timeout=5.0).raise_for_status()
        except httpx.HTTPError:
            return False
        metrics = httpx.get(f"{stack.url}/metrics", headers=headers).text
        return "\nnormlab_mirror_lag_seconds 0.0\n" in metrics

    wait_for(is_level, "MLflow has everything", 5 * MINUTE, pause=1.0)


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
