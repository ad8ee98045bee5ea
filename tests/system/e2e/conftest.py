"""A whole local stack, started and stopped as a person does, for the tests of the whole path."""

import os
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest

SHARED_DATA = Path(__file__).parents[4] / "shared" / "data"
FINAL = ("succeeded", "failed", "cancelled")


@dataclass(frozen=True, slots=True)
class Stack:
    """A running stack: its home, what to set to reach it, and HTTP as its first administrator."""

    home: Path
    environment: Mapping[str, str]
    api: httpx.Client
    mlflow_url: str

    def normlab(self, *arguments: str, expect: int = 0) -> str:
        """Runs the command as a person does; returns what it printed."""
        done = subprocess.run(
            [sys.executable, "-m", "normlab", *arguments],
            env=self.environment,
            capture_output=True,
            text=True,
            timeout=240,
        )
        assert done.returncode == expect, done.stdout + done.stderr
        return done.stdout

    def get(self, path: str, **parameters: Any) -> Any:
        answer = self.api.get(path, params=parameters)
        assert answer.status_code == 200, answer.text
        return answer.json()

    def post(self, path: str, body: Any = None, **headers: str) -> Any:
        answer = self.api.post(path, json=body, headers=headers)
        assert answer.is_success, answer.text
        return answer.json()

    def items(self, path: str, **parameters: Any) -> list[Any]:
        """All pages of a list."""
        found: list[Any] = []
        cursor = None
        while True:
            page = self.get(path, limit=100, **parameters, **({"cursor": cursor} if cursor else {}))
            found += page["items"]
            cursor = page["next_cursor"]
            if cursor is None:
                return found

    def wait(self, path: str, seconds: float = 400) -> Any:
        """The job or study once its status is final."""
        return wait_for(
            lambda: one if (one := self.get(path))["status"] in (*FINAL, "partial") else None,
            f"{path} is final",
            seconds,
        )

    def processes(self, module: str) -> list[psutil.Process]:
        """The stack's processes whose command line holds `module`."""
        return [one for one in _of_home(self.home) if any(module in part for part in _cmdline(one))]


def wait_for(look: Callable[[], Any], what: str, seconds: float = 400) -> Any:
    """The first true answer of `look`."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if found := look():
            return found
        time.sleep(0.2)
    raise AssertionError(f"after {seconds:g} s it is not so that {what}")


def _cmdline(process: psutil.Process) -> list[str]:
    try:
        return process.cmdline()
    except psutil.Error:
        return []


def _of_home(home: Path) -> list[psutil.Process]:
    found = []
    for process in psutil.process_iter():
        try:
            if process.environ().get("NORMLAB_HOME") == str(home) and process.pid != os.getpid():
                found.append(process)
        except psutil.Error:
            continue
    return found


def _two_free_ports() -> tuple[str, str]:
    with socket.socket() as one, socket.socket() as other:
        one.bind(("127.0.0.1", 0))
        other.bind(("127.0.0.1", 0))
        return str(one.getsockname()[1]), str(other.getsockname()[1])


@pytest.fixture(scope="session")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    home = tmp_path_factory.mktemp("home") / "normlab"
    api_port, mlflow_port = _two_free_ports()
    environment = {
        **{key: value for key, value in os.environ.items() if not key.startswith("NORMLAB_")},
        "NORMLAB_HOME": str(home),
        "NORMLAB_API_PORT": api_port,
        "NORMLAB_MLFLOW_PORT": mlflow_port,
        "NORMLAB_DATA_ROOTS": os.environ.get("NORMLAB_TEST_DATA", str(SHARED_DATA)),
        "NORMLAB_LEASE_SECONDS": "6",
    }
    command = [sys.executable, "-m", "normlab"]
    up = subprocess.run(
        [*command, "up", "--detach"], env=environment, capture_output=True, text=True
    )
    try:
        assert up.returncode == 0, up.stdout + up.stderr
        token = (home / "token").read_text().strip()
        with httpx.Client(
            base_url=f"http://127.0.0.1:{api_port}/api/v1",
            headers={"Authorization": f"Bearer {token}"},
            timeout=60,
        ) as api:
            yield Stack(home, environment, api, f"http://127.0.0.1:{mlflow_port}")
    finally:
        subprocess.run([*command, "down"], env=environment, check=True, capture_output=True)
        left = _of_home(home)
    assert not left, [one.cmdline() for one in left]
