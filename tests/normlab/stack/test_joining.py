"""What a worker of another machine is given, and what is said where it can't work."""

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from normlab.errors import StackError
from normlab.home import Home
from normlab.stack.joining import read_join_file, run_worker, with_sockets, write_join_file
from normlab.stack.servers import Postgres
from tests.support.cli import run_here

SETTINGS = {
    "NORMLAB_DATABASE_URL": "postgresql+psycopg://normlab_worker:word@/normlab?host=/run/normlab-1",
    "NORMLAB_REDIS_URL": "redis+socket:///run/normlab-1/redis.sock",
    "NORMLAB_STORAGE": "/srv/storage",
}


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Home:
    """Of a stack that runs."""
    monkeypatch.setattr(Postgres, "password", lambda self, role: f"word-of-{role}")
    monkeypatch.setattr(Home, "is_locked", lambda self: True)
    return Home(tmp_path)


def write(path: Path, settings: dict[str, str] = SETTINGS) -> Path:
    path.write_text("".join(f"{name}={value}\n" for name, value in settings.items()))
    path.chmod(0o600)
    return path


def test_what_is_written_is_for_its_owner_alone_and_is_read_again(
    home: Home, tmp_path: Path
) -> None:
    file = tmp_path / "join.env"
    file.write_text("of before, and open to all")
    write_join_file(home, file)
    assert file.stat().st_mode & 0o777 == 0o600
    settings = read_join_file(file)
    assert settings == {
        "NORMLAB_DATABASE_URL": f"postgresql+psycopg://normlab_worker:word-of-normlab_worker@/normlab?host={home.sockets}",
        "NORMLAB_REDIS_URL": f"redis+socket://{home.sockets}/redis.sock",
        "NORMLAB_STORAGE": str(home.storage),
        "NORMLAB_DATA_ROOTS": str(home.folder / "data"),
    }


def test_an_object_store_comes_with_what_it_needs(
    home: Home, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "a-name")
    write_join_file(home, tmp_path / "one")
    assert "AWS_ACCESS_KEY_ID" not in read_join_file(tmp_path / "one")
    monkeypatch.setenv("NORMLAB_STORAGE", "s3://lab/x")
    write_join_file(home, tmp_path / "other")
    settings = read_join_file(tmp_path / "other")
    assert (settings["NORMLAB_STORAGE"], settings["AWS_ACCESS_KEY_ID"]) == ("s3://lab/x", "a-name")


def test_a_stack_that_is_down_is_said(tmp_path: Path) -> None:
    with pytest.raises(StackError, match="start it with `normlab up --detach`"):
        write_join_file(Home(tmp_path), tmp_path / "join.env")
    assert not (tmp_path / "join.env").exists()


def test_a_file_that_others_may_read_is_refused(tmp_path: Path) -> None:
    file = write(tmp_path / "join.env")
    file.chmod(0o640)
    with pytest.raises(StackError, match=f"chmod 600 {file}"):
        read_join_file(file)


@pytest.mark.parametrize(
    ("settings", "why"),
    [
        ({"NORMLAB_REDIS_URL": "redis://h"}, "lacks NORMLAB_DATABASE_URL, NORMLAB_STORAGE"),
        ({**SETTINGS, "PATH": "/tmp"}, "is not what .* writes: PATH"),
    ],
)
def test_what_is_no_such_file_is_refused(tmp_path: Path, settings: Any, why: str) -> None:
    with pytest.raises(StackError, match=why):
        read_join_file(write(tmp_path / "join.env", settings))


def test_sockets_may_be_forwarded_to_another_folder(tmp_path: Path) -> None:
    for name in (".s.PGSQL.5432", "redis.sock"):
        (tmp_path / name).touch()
    found = with_sockets(SETTINGS, tmp_path)
    assert found["NORMLAB_DATABASE_URL"].endswith(f"normlab_worker:word@/normlab?host={tmp_path}")
    assert found["NORMLAB_REDIS_URL"] == f"redis+socket://{tmp_path}/redis.sock"
    assert found["NORMLAB_STORAGE"] == "/srv/storage"


def test_where_nothing_listens_it_is_said_how_to_forward(tmp_path: Path) -> None:
    with pytest.raises(StackError) as missing:
        with_sockets(SETTINGS, tmp_path)
    assert f"nothing listens at {tmp_path}/.s.PGSQL.5432" in str(missing.value)
    assert "ssh -N -L SOCKETS/.s.PGSQL.5432:/run/normlab-1/.s.PGSQL.5432" in str(missing.value)
    assert "word" not in str(missing.value)


def test_servers_with_ports_need_no_sockets() -> None:
    urls = {
        "NORMLAB_DATABASE_URL": "postgresql+psycopg://normlab_worker:word@db:5432/normlab",
        "NORMLAB_REDIS_URL": "redis://redis:6379/0",
        "NORMLAB_STORAGE": "s3://lab",
    }
    assert with_sockets(urls, None) == urls


def test_the_worker_takes_the_place_of_the_command_once_it_is_known_to_start(
    home: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun: list[tuple[list[str], dict[str, str]]] = []

    def check(command: list[str], **more: Any) -> "subprocess.CompletedProcess[bytes]":
        begun.append((command[1:], more["env"]))
        return subprocess.CompletedProcess(command, 0)

    def execute(_: str, command: list[str], environment: dict[str, str]) -> None:
        begun.append((command[1:], environment))

    monkeypatch.setattr(subprocess, "run", check)
    monkeypatch.setattr(os, "execve", execute)
    monkeypatch.setenv("NORMLAB_TOKEN", "nl_of_a_person")
    run_worker(SETTINGS, home)
    assert [command for command, _ in begun] == [["-m", "worker.preflight"], ["-m", "worker"]]
    for _, environment in begun:
        assert SETTINGS.items() <= environment.items()
        assert environment["NORMLAB_CACHE"] == str(home.folder / "cache")
        assert "NORMLAB_TOKEN" not in environment
    # No secret is part of a command.
    assert "word" not in str([command for command, _ in begun])


def test_the_command_says_what_it_lacks(tmp_path: Path) -> None:
    done = run_here("worker", NORMLAB_HOME=str(tmp_path))
    assert done.returncode == 1
    assert b"name either --join FILE or --print-join FILE" in done.stderr


def test_a_worker_that_could_not_start_says_why_and_ends(tmp_path: Path) -> None:
    file = write(
        tmp_path / "join.env",
        {
            "NORMLAB_DATABASE_URL": "postgresql+psycopg://normlab_worker:word@127.0.0.1:1/normlab",
            "NORMLAB_REDIS_URL": "redis://127.0.0.1:1/0",
            "NORMLAB_STORAGE": str(tmp_path / "storage"),
        },
    )
    command = [sys.executable, "-m", "normlab", "worker", "--join", str(file)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "the database can't be reached (NORMLAB_DATABASE_URL)" in done.stderr
    assert "Redis can't be reached (NORMLAB_REDIS_URL)" in done.stderr
    assert "word" not in done.stderr.replace("password", "")
