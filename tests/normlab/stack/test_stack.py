"""The local stack as a person meets it: up, status, a crash, a power cut, down. One stack for all."""

import json
import os
import signal
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from normlab.accounts import socket_folder
from tests.support.stack import Installation, make_installation
from tests.support.waiting import wait_for

LIMITS = {"NORMLAB_LOG_MEGABYTES": "0.5"}


def rights(path: Path) -> list[tuple[int, int]]:
    return [(found.st_mode, found.st_uid) for found in (one.stat() for one in path.parents)]


@pytest.fixture(scope="module")
def installation(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Installation]:
    """Below a closed folder, on a long path with a space."""
    closed = tmp_path_factory.mktemp("closed")
    closed.chmod(0o700)
    made = make_installation(closed / ("a long path " * 10).strip() / "home", **LIMITS)
    before = rights(closed)
    up = made.run("up", "--detach")
    try:
        assert up.returncode == 0, up.stdout + up.stderr
        assert made.environment["NORMLAB_API_PORT"] in up.stdout
        yield made
    finally:
        down = made.run("down")
    assert down.returncode == 0, down.stderr
    assert made.processes() == []
    assert not socket_folder(made.home).exists()
    assert rights(closed) == before


def test_a_second_up_says_that_it_runs_already(installation: Installation) -> None:
    again = installation.run("up", "--detach")
    assert again.returncode == 0
    assert "already running" in again.stdout
    assert f"http://127.0.0.1:{installation.environment['NORMLAB_API_PORT']}" in again.stdout


def test_status_shows_every_process(installation: Installation) -> None:
    found = installation.status()
    assert found["phase"] == "ready"
    assert {one["name"] for one in found["processes"]} == {
        "postgres", "redis", "mlflow", "api", "worker", "sweep", "mirror",
    }  # fmt: skip
    assert all(psutil.pid_exists(one["pid"]) for one in found["processes"])
    table = installation.run("status").stdout
    assert "uptime" in table
    assert str(installation.home / "logs") in table


def test_the_token_is_for_its_owner_only(installation: Installation) -> None:
    assert (installation.home / "token").stat().st_mode & 0o777 == 0o600
    listed = installation.run("users", "-o", "json")
    assert [one["role"] for one in json.loads(listed.stdout)] == ["admin"]


def test_each_process_knows_the_login_of_its_own_role_only(installation: Installation) -> None:
    roles = {"api": "normlab_api"} | dict.fromkeys(("worker", "sweep", "mirror"), "normlab_worker")
    for name, role in roles.items():
        environment = psutil.Process(installation.process(name)["pid"]).environ()
        assert environment["NORMLAB_DATABASE_URL"].startswith(f"postgresql+psycopg://{role}:")
        assert "NORMLAB_BOOTSTRAP_TOKEN" not in environment
    mlflow = psutil.Process(installation.process("mlflow")["pid"]).environ()
    assert "//normlab_mlflow:" in mlflow["MLFLOW_BACKEND_STORE_URI"]
    assert not {"NORMLAB_DATABASE_URL", "NORMLAB_REDIS_URL"} & set(mlflow)


def test_a_log_that_has_reached_its_limit_is_emptied_while_the_stack_runs(
    installation: Installation,
) -> None:
    log = installation.home / "logs" / "sweep.log"
    with log.open("ab") as file:
        file.write(b"a line that a process wrote\n" * 20_000)
    older = log.with_name("sweep.log.1")
    wait_for(lambda: older.exists() and older.stat().st_size >= 500_000)
    wait_for(lambda: log.stat().st_size < 500_000)


def test_what_crashes_is_restarted(installation: Installation) -> None:
    before = installation.process("sweep")
    os.kill(before["pid"], signal.SIGKILL)
    wait_for(lambda: installation.process("sweep")["restarts"] == before["restarts"] + 1)
    assert installation.process("sweep")["pid"] != before["pid"]


def test_the_database_is_restarted_too_and_the_api_finds_it_again(
    installation: Installation,
) -> None:
    before = installation.process("postgres")
    os.kill(before["pid"], signal.SIGKILL)
    wait_for(lambda: installation.process("postgres")["restarts"] == before["restarts"] + 1)
    wait_for(lambda: installation.run("list").returncode == 0)


def test_a_port_that_is_taken_is_named_with_its_owner(
    installation: Installation, tmp_path: Path
) -> None:
    taken = installation.environment["NORMLAB_API_PORT"]
    other = make_installation(tmp_path / "other", **LIMITS)
    done = other.run("up", "-d", NORMLAB_API_PORT=taken)
    assert done.returncode == 1
    assert f"port {taken} is taken by" in done.stderr
    assert f"process {installation.process('api')['pid']}" in done.stderr
    assert "NORMLAB_API_PORT=" in done.stderr
    assert other.processes() == []


def test_a_failed_start_shows_why_and_leaves_nothing(tmp_path: Path) -> None:
    (tmp_path / "sitecustomize.py").write_text(
        "import sys\nif 'migrations' in sys.orig_argv:\n    sys.exit('no such revision')\n"
    )
    broken = make_installation(tmp_path / "home", **LIMITS)
    done = broken.run("up", "-d", PYTHONPATH=str(tmp_path))
    assert done.returncode == 1
    assert "`migrations` failed" in done.stderr
    assert "no such revision" in done.stderr
    assert broken.processes() == []
    assert not socket_folder(broken.home).exists()


def test_after_a_power_cut_it_starts_again(installation: Installation) -> None:
    supervisor = installation.status()["supervisor"]["pid"]
    os.kill(supervisor, signal.SIGKILL)
    # Some processes are gone, some are left without a parent.
    for process in installation.processes()[::2]:
        process.kill()
    wait_for(lambda: not psutil.pid_exists(supervisor))
    assert "killed stack has left" in installation.run("status").stderr
    up = installation.run("up", "--detach")
    assert up.returncode == 0, up.stdout + up.stderr
    assert installation.status()["phase"] == "ready"


def test_down_ends_what_a_killed_supervisor_left(installation: Installation) -> None:
    supervisor = installation.status()["supervisor"]["pid"]
    os.kill(supervisor, signal.SIGKILL)
    wait_for(lambda: not psutil.pid_exists(supervisor))
    down = installation.run("down")
    assert down.returncode == 0
    assert "had left behind" in down.stdout
    assert installation.processes() == []
