"""A local stack in a home and on ports of its own, started and stopped as a person does."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import psutil

from normlab.accounts import socket_folder
from tests.support.waiting import free_port, wait_for

SHARED_DATA = Path(__file__).parents[3] / "shared" / "data"
FINAL = ("succeeded", "failed", "cancelled")


@dataclass(frozen=True, slots=True)
class Installation:
    """A home and ports; `run` is the command with them."""

    home: Path
    environment: Mapping[str, str]

    def run(self, *arguments: str, **more: str) -> "subprocess.CompletedProcess[str]":
        return subprocess.run(
            [sys.executable, "-m", "normlab", *arguments],
            check=False,
            capture_output=True,
            text=True,
            timeout=600,
            env={**self.environment, **more},
        )

    def normlab(self, *arguments: str, expect: int = 0) -> str:
        """What the command printed."""
        done = self.run(*arguments)
        assert done.returncode == expect, done.stdout + done.stderr
        return done.stdout

    def status(self) -> dict[str, Any]:
        status: dict[str, Any] = json.loads(self.run("status", "-o", "json").stdout)
        return status

    def process(self, name: str) -> dict[str, Any]:
        return next(row for row in self.status()["processes"] if row["name"] == name)

    def processes(self, module: str = "") -> list[psutil.Process]:
        """Those of this home whose command line holds `module`; PostgreSQL and Redis belong to it by
        their sockets."""
        sockets = str(socket_folder(self.home))
        processes = []
        for process in psutil.process_iter():
            try:
                command = process.cmdline()
                ours = process.environ().get("NORMLAB_HOME") == str(self.home)
            except (psutil.Error, OSError):
                continue
            belongs = ours or any(sockets in part for part in command)
            if belongs and process.pid != os.getpid() and any(module in part for part in command):
                processes.append(process)
        return processes


def make_installation(home: Path, **settings: str) -> Installation:
    """Nothing of it runs yet.

    Its mirror doesn't give way: it would starve beside tests that use both cores, and tests wait for it.
    """
    inherited = {key: value for key, value in os.environ.items() if not key.startswith("NORMLAB_")}
    settings = {"NORMLAB_BACKGROUND_NICE": "0", **settings}
    ports = {"NORMLAB_API_PORT": str(free_port()), "NORMLAB_MLFLOW_PORT": str(free_port())}
    return Installation(home, {**inherited, **ports, **settings, "NORMLAB_HOME": str(home)})


@dataclass(frozen=True, slots=True)
class Stack(Installation):
    """A running one; `api` speaks to it as its first administrator, `mlflow` to MLflow's REST interface."""

    api: httpx.Client
    mlflow: httpx.Client
    mlflow_url: str

    def get(self, path: str, **parameters: Any) -> Any:
        answer = self.api.get(path, params=parameters)
        assert answer.status_code == 200, answer.text
        return answer.json()

    def post(self, path: str, body: Any = None, **headers: str) -> Any:
        """What is submitted is trained, whatever other tests have trained on this stack."""
        creates = path in ("/jobs", "/studies") or path.endswith(("/extend", "/runs"))
        fresh = {"fresh": "true"} if creates else None
        answer = self.api.post(path, json=body, headers=headers, params=fresh)
        assert answer.is_success, answer.text
        return answer.json()

    def items(self, path: str, **parameters: Any) -> list[Any]:
        """All pages of a list."""
        items: list[Any] = []
        cursor = None
        while True:
            page = self.get(path, limit=100, **parameters, **({"cursor": cursor} if cursor else {}))
            items += page["items"]
            cursor = page["next_cursor"]
            if cursor is None:
                return items

    def wait(self, path: str, seconds: float = 400) -> Any:
        """The job or study once its status is final."""
        return wait_for(
            lambda: row if (row := self.get(path))["status"] in (*FINAL, "partial") else None,
            f"{path} is final",
            seconds,
        )


@contextmanager
def running(installation: Installation) -> Iterator[Stack]:
    """From its start to its end, after which no process of it is left."""
    home, environment = installation.home, installation.environment
    try:
        said = installation.normlab("up", "--detach")
        assert environment["NORMLAB_API_PORT"] in said
        token = (home / "token").read_text().strip()
        api_url = f"http://127.0.0.1:{environment['NORMLAB_API_PORT']}/api/v1"
        mlflow_url = f"http://127.0.0.1:{environment['NORMLAB_MLFLOW_PORT']}"
        headers = {"Authorization": f"Bearer {token}"}
        with (
            httpx.Client(base_url=api_url, headers=headers, timeout=60) as api,
            httpx.Client(
                base_url=f"{mlflow_url}/api/2.0/mlflow", headers=headers, timeout=120
            ) as mlflow,
        ):
            yield Stack(home, environment, api, mlflow, mlflow_url)
    finally:
        installation.normlab("down")
        left = installation.processes()
    assert not left, [process.cmdline() for process in left]
