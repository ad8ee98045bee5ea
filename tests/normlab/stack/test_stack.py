"""The local stack as a person meets it: up, status, a crash, a power cut, down. One stack for all."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
import pytest

from normlab.accounts import socket_folder


@dataclass(frozen=True, slots=True)
class Machine:
    """A home and ports; `normlab` runs the command with them."""

    home: Path
    environment: dict[str, str]

    def normlab(self, *arguments: str, **more: str) -> "subprocess.CompletedProcess[str]":
        return subprocess.run(
            [sys.executable, "-m", "normlab", *arguments],
            check=False,
            capture_output=True,
            text=True,
            timeout=280,
            env={**self.environment, **more},
        )

    def status(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(self.normlab("status", "-o", "json").stdout)
        return found

    def process(self, name: str) -> dict[str, Any]:
        return next(one for one in self.status()["processes"] if one["name"] == name)

    def processes(self) -> list[psutil.Process]:
        """All that belong to this home, also PostgreSQL and Redis, which know it by their sockets."""
        sockets = str(socket_folder(self.home))
        found = []
        for process in psutil.process_iter():
            try:
                ours = process.environ().get("NORMLAB_HOME") == str(self.home)
                if ours or any(sockets in part for part in process.cmdline()):
                    found.append(process)
            except (psutil.Error, OSError):
                continue
        return found


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def make_machine(home: Path) -> Machine:
    given = {key: value for key, value in os.environ.items() if not key.startswith("NORMLAB_")}
    ports = {"NORMLAB_API_PORT": str(free_port()), "NORMLAB_MLFLOW_PORT": str(free_port())}
    limits = {"NORMLAB_LOG_MEGABYTES": "0.5"}
    return Machine(home, {**given, **ports, **limits, "NORMLAB_HOME": str(home)})


def wait_for(condition: Callable[[], Any], seconds: float = 240) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.2)


def rights(path: Path) -> list[tuple[int, int]]:
    return [(found.st_mode, found.st_uid) for found in (one.stat() for one in path.parents)]


@pytest.fixture(scope="module")
def machine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Machine]:
    """Below a closed folder, on a long path with a space."""
    closed = tmp_path_factory.mktemp("closed")
    closed.chmod(0o700)
    made = make_machine(closed / ("a long path " * 10).strip() / "home")
    before = rights(closed)
    up = made.normlab("up", "--detach")
    try:
        assert up.returncode == 0, up.stdout + up.stderr
        assert made.environment["NORMLAB_API_PORT"] in up.stdout
        yield made
    finally:
        down = made.normlab("down")
    assert down.returncode == 0, down.stderr
    assert made.processes() == []
    assert not socket_folder(made.home).exists()
    assert rights(closed) == before


def test_a_second_up_says_that_it_runs_already(machine: Machine) -> None:
    again = machine.normlab("up", "--detach")
    assert again.returncode == 0
    assert "already running" in again.stdout
    assert f"http://127.0.0.1:{machine.environment['NORMLAB_API_PORT']}" in again.stdout


def test_status_shows_every_process(machine: Machine) -> None:
    found = machine.status()
    assert found["phase"] == "ready"
    assert {one["name"] for one in found["processes"]} == {
        "postgres", "redis", "mlflow", "api", "worker", "sweep", "mirror",
    }  # fmt: skip
    assert all(psutil.pid_exists(one["pid"]) for one in found["processes"])
    table = machine.normlab("status").stdout
    assert "uptime" in table
    assert str(machine.home / "logs") in table


def test_the_token_is_for_its_owner_only(machine: Machine) -> None:
    assert (machine.home / "token").stat().st_mode & 0o777 == 0o600
    listed = machine.normlab("users", "-o", "json")
    assert [one["role"] for one in json.loads(listed.stdout)] == ["admin"]


def test_each_process_knows_the_login_of_its_own_role_only(machine: Machine) -> None:
    roles = {"api": "normlab_api"} | dict.fromkeys(("worker", "sweep", "mirror"), "normlab_worker")
    for name, role in roles.items():
        environment = psutil.Process(machine.process(name)["pid"]).environ()
        assert environment["NORMLAB_DATABASE_URL"].startswith(f"postgresql+psycopg://{role}:")
        assert "NORMLAB_BOOTSTRAP_TOKEN" not in environment
    mlflow = psutil.Process(machine.process("mlflow")["pid"]).environ()
    assert "//normlab_mlflow:" in mlflow["MLFLOW_BACKEND_STORE_URI"]
    assert not {"NORMLAB_DATABASE_URL", "NORMLAB_REDIS_URL"} & set(mlflow)


def test_a_log_that_has_reached_its_limit_is_emptied_while_the_stack_runs(machine: Machine) -> None:
    log = machine.home / "logs" / "sweep.log"
    with log.open("ab") as file:
        file.write(b"a line that a process wrote\n" * 20_000)
    older = log.with_name("sweep.log.1")
    wait_for(lambda: older.exists() and older.stat().st_size >= 500_000)
    wait_for(lambda: log.stat().st_size < 500_000)


def test_what_crashes_is_restarted(machine: Machine) -> None:
    before = machine.process("sweep")
    os.kill(before["pid"], signal.SIGKILL)
    wait_for(lambda: machine.process("sweep")["restarts"] == before["restarts"] + 1)
    assert machine.process("sweep")["pid"] != before["pid"]


def test_the_database_is_restarted_too_and_the_api_finds_it_again(machine: Machine) -> None:
    before = machine.process("postgres")
    os.kill(before["pid"], signal.SIGKILL)
    wait_for(lambda: machine.process("postgres")["restarts"] == before["restarts"] + 1)
    wait_for(lambda: machine.normlab("list").returncode == 0)


def test_a_port_that_is_taken_is_named_with_its_owner(machine: Machine, tmp_path: Path) -> None:
    taken = machine.environment["NORMLAB_API_PORT"]
    other = make_machine(tmp_path / "other")
    done = other.normlab("up", "-d", NORMLAB_API_PORT=taken)
    assert done.returncode == 1
    assert f"port {taken} is taken by" in done.stderr
    assert f"process {machine.process('api')['pid']}" in done.stderr
    assert "NORMLAB_API_PORT=" in done.stderr
    assert other.processes() == []


def test_a_failed_start_shows_why_and_leaves_nothing(tmp_path: Path) -> None:
    (tmp_path / "sitecustomize.py").write_text(
        "import sys\nif 'migrations' in sys.orig_argv:\n    sys.exit('no such revision')\n"
    )
    broken = make_machine(tmp_path / "home")
    done = broken.normlab("up", "-d", PYTHONPATH=str(tmp_path))
    assert done.returncode == 1
    assert "`migrations` failed" in done.stderr
    assert "no such revision" in done.stderr
    assert broken.processes() == []
    assert not socket_folder(broken.home).exists()


def test_after_a_power_cut_it_starts_again(machine: Machine) -> None:
    supervisor = machine.status()["supervisor"]["pid"]
    os.kill(supervisor, signal.SIGKILL)
    # Some processes are gone, some are left without a parent.
    for process in machine.processes()[::2]:
        process.kill()
    wait_for(lambda: not psutil.pid_exists(supervisor))
    assert "killed stack has left" in machine.normlab("status").stderr
    up = machine.normlab("up", "--detach")
    assert up.returncode == 0, up.stdout + up.stderr
    assert machine.status()["phase"] == "ready"


def test_down_ends_what_a_killed_supervisor_left(machine: Machine) -> None:
    supervisor = machine.status()["supervisor"]["pid"]
    os.kill(supervisor, signal.SIGKILL)
    wait_for(lambda: not psutil.pid_exists(supervisor))
    down = machine.normlab("down")
    assert down.returncode == 0
    assert "had left behind" in down.stdout
    assert machine.processes() == []
