"""The running local stack as a person meets it: a second up, status, logs, and what each process may know.

That what crashes is restarted, and that a power cut or a killed supervisor does no harm, is among the faults of
tests/system/faults.
"""

import json
from pathlib import Path

import psutil

from tests.support.stack import Stack, make_installation
from tests.support.waiting import wait_for


def test_a_second_up_says_that_it_runs_already(stack: Stack) -> None:
    again = stack.run("up", "--detach")
    assert again.returncode == 0
    assert "already running" in again.stdout
    assert f"http://127.0.0.1:{stack.environment['NORMLAB_API_PORT']}" in again.stdout


def test_status_shows_every_process(stack: Stack) -> None:
    found = stack.status()
    assert found["phase"] == "ready"
    assert {one["name"] for one in found["processes"]} == {
        "postgres", "redis", "mlflow", "api", "worker", "sweep", "mirror",
    }  # fmt: skip
    assert all(psutil.pid_exists(one["pid"]) for one in found["processes"])
    table = stack.run("status").stdout
    assert "uptime" in table
    assert str(stack.home / "logs") in table


def test_the_token_is_for_its_owner_only(stack: Stack) -> None:
    assert (stack.home / "token").stat().st_mode & 0o777 == 0o600
    roles = {one["name"]: one["role"] for one in json.loads(stack.normlab("users", "-o", "json"))}
    assert roles["admin"] == "admin"


def test_each_process_knows_the_login_of_its_own_role_only(stack: Stack) -> None:
    roles = {"api": "normlab_api", "mlflow": "normlab_access"}
    roles |= dict.fromkeys(("worker", "sweep", "mirror"), "normlab_worker")
    pids = {row["name"]: row["pid"] for row in stack.status()["processes"]}
    for name, role in roles.items():
        environment = psutil.Process(pids[name]).environ()
        assert environment["NORMLAB_DATABASE_URL"].startswith(f"postgresql+psycopg://{role}:")
        assert "NORMLAB_BOOTSTRAP_TOKEN" not in environment
        # Of the one that writes to MLflow, and of the one that lets it write.
        assert ("NORMLAB_MLFLOW_TOKEN" in environment) == (name in ("mirror", "mlflow"))
    mlflow = psutil.Process(pids["mlflow"]).environ()
    assert "//normlab_mlflow:" in mlflow["MLFLOW_BACKEND_STORE_URI"]
    assert "NORMLAB_REDIS_URL" not in mlflow


def test_a_log_that_has_reached_its_limit_is_emptied_while_the_stack_runs(
    stack: Stack,
) -> None:
    log = stack.home / "logs" / "sweep.log"
    with log.open("ab") as file:
        file.write(b"a line that a process wrote\n" * 20_000)
    older = log.with_name("sweep.log.1")
    wait_for(lambda: older.exists() and older.stat().st_size >= 500_000)
    wait_for(lambda: log.stat().st_size < 500_000)


def test_a_port_that_is_taken_is_named_with_its_owner(stack: Stack, tmp_path: Path) -> None:
    taken = stack.environment["NORMLAB_API_PORT"]
    other = make_installation(tmp_path / "other")
    done = other.run("up", "-d", NORMLAB_API_PORT=taken)
    assert done.returncode == 1
    assert f"port {taken} is taken by" in done.stderr
    assert f"process {stack.process('api')['pid']}" in done.stderr
    assert "NORMLAB_API_PORT=" in done.stderr
    assert other.processes() == []
