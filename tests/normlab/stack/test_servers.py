"""The local servers start, stop, survive a power cut and change no permission outside their folders."""

import os
import pwd
import signal
import stat
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import psycopg
import pytest

from normlab import accounts
from normlab.accounts import OWN_IDS, Account, private_folder, reachable_copy, server_account
from normlab.errors import ServerError
from normlab.stack.servers import Postgres, Redis

as_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root changes the account")


@pytest.fixture
def postgres(tmp_path: Path) -> Iterator[Postgres]:
    server = Postgres(tmp_path / "postgres", durable=False)
    yield server
    server.stop()


@pytest.fixture
def redis(tmp_path: Path) -> Iterator[Redis]:
    server = Redis(tmp_path / "redis")
    yield server
    server.stop()


def connect(server: Postgres, database: str = "postgres") -> "psycopg.Connection[tuple[object]]":
    return psycopg.connect(server.url(database).replace("+psycopg", ""), autocommit=True)


def kill(pid: int | None) -> None:
    assert pid is not None
    os.kill(pid, signal.SIGKILL)


def test_postgres_keeps_its_data_over_a_restart(postgres: Postgres) -> None:
    postgres.start()
    postgres.create_databases("normlab", "mlflow")
    with connect(postgres, "normlab") as connection:
        connection.execute("CREATE TABLE kept AS SELECT 7 AS number")
    postgres.stop()
    postgres.start()
    postgres.create_databases("normlab", "mlflow")
    with connect(postgres, "normlab") as connection:
        assert connection.execute("SELECT number FROM kept").fetchone() == (7,)


def test_stopping_leaves_no_process_and_no_socket_folder(postgres: Postgres, redis: Redis) -> None:
    postgres.start()
    redis.start()
    pids = [postgres.pid, redis.pid]
    postgres.stop()
    redis.stop()
    assert not any(psutil.pid_exists(pid) for pid in pids if pid)
    assert not postgres.sockets.exists()
    assert not redis.sockets.exists()


def test_postgres_starts_after_a_power_cut_that_left_its_lock_file(tmp_path: Path) -> None:
    postgres = Postgres(tmp_path / "postgres")
    postgres.start()
    with connect(postgres) as connection:
        connection.execute("CREATE TABLE kept ()")
    lock = postgres.folder / "data" / "postmaster.pid"
    written = lock.read_text()
    kill(postgres.pid)
    postgres.stop()
    # The number in the lock file now belongs to a process that has nothing to do with it.
    lock.write_text(written.replace(written.split("\n")[0], str(os.getpid()), 1))
    postgres.start()
    with connect(postgres) as connection:
        assert connection.execute("SELECT count(*) FROM kept").fetchone() == (0,)
    postgres.stop()


@pytest.mark.parametrize("kind", [Postgres, Redis])
def test_a_server_that_a_killed_supervisor_left_running_is_replaced(
    tmp_path: Path, kind: type[Postgres] | type[Redis]
) -> None:
    left, again = kind(tmp_path / "server"), kind(tmp_path / "server")
    left.start()
    assert left.pid is not None
    old = psutil.Process(left.pid)
    again.start()
    assert again.pid != old.pid
    assert not old.is_running() or old.status() == psutil.STATUS_ZOMBIE
    again.stop()
    left.stop()


def test_a_long_path_and_closed_parents_are_no_hindrance(tmp_path: Path) -> None:
    closed = tmp_path / ("long" * 40)
    closed.mkdir(mode=0o700)
    server = Postgres(closed / "postgres", durable=False)
    try:
        server.start()
        assert len(str(server.sockets / ".s.PGSQL.5432")) < 107
        with connect(server) as connection:
            connection.execute("SELECT 1")
    finally:
        server.stop()


def test_no_permission_outside_the_servers_folders_changes(
    tmp_path: Path, postgres: Postgres, redis: Redis
) -> None:
    parents = [tmp_path, *tmp_path.parents, Path("/tmp"), Path("/run")]

    def rights() -> list[tuple[int, int]]:
        return [(found.st_mode, found.st_uid) for found in (path.stat() for path in parents)]

    before = rights()
    postgres.start()
    redis.start()
    assert rights() == before
    postgres.stop()
    redis.stop()
    assert rights() == before


def test_only_the_servers_account_passes_and_no_port_is_open(
    postgres: Postgres, redis: Redis
) -> None:
    postgres.start()
    redis.start()
    for folder in (postgres.folder, postgres.sockets, redis.folder, redis.sockets):
        assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert stat.S_IMODE((postgres.folder / "password").stat().st_mode) == 0o600
    for pid in (postgres.pid, redis.pid):
        assert not psutil.Process(pid).net_connections(kind="inet")


def test_a_wrong_password_is_refused(postgres: Postgres) -> None:
    postgres.start()
    password = (postgres.folder / "password").read_text()
    with pytest.raises(psycopg.OperationalError, match="password authentication failed"):
        psycopg.connect(postgres.url("postgres").replace("+psycopg", "").replace(password, "x"))


@as_root
def test_roots_servers_and_their_files_have_a_user_id_that_nothing_else_has(
    tmp_path: Path, postgres: Postgres, redis: Redis
) -> None:
    postgres.start()
    redis.start()
    account = server_account(tmp_path)
    assert account.uid in OWN_IDS
    assert account.uid not in {entry.pw_uid for entry in pwd.getpwall()}
    for pid in (postgres.pid, redis.pid):
        assert set(psutil.Process(pid).uids()) == {account.uid}
    for folder in (postgres.folder, postgres.sockets, redis.folder, redis.sockets):
        # Root writes the log.
        assert owners(folder) <= {account.uid, 0}
        assert folder.stat().st_uid == account.uid
        assert can_enter(folder, account)
        assert not can_enter(folder, nobody())


@as_root
def test_a_folder_of_the_earlier_servers_is_handed_over_with_its_data(
    tmp_path: Path, postgres: Postgres
) -> None:
    postgres.start()
    with connect(postgres) as connection:
        connection.execute("CREATE TABLE kept AS SELECT 7 AS number")
    postgres.stop()
    elsewhere = tmp_path / "elsewhere"
    elsewhere.write_text("")
    (postgres.folder / "link").symlink_to(elsewhere)
    os.link(elsewhere, postgres.folder / "second name")
    subprocess.run(["chown", "--recursive", "-h", "nobody", postgres.folder], check=True)
    os.chown(elsewhere, 0, 0)
    postgres.start()
    with connect(postgres) as connection:
        assert connection.execute("SELECT number FROM kept").fetchone() == (7,)
    assert elsewhere.stat().st_uid == 0
    assert owners(postgres.folder) == {server_account(tmp_path).uid, 0}


@as_root
def test_a_hand_over_that_was_interrupted_is_done_at_the_next_start(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "postgres"
    (folder / "data").mkdir(parents=True)
    subprocess.run(["chown", "--recursive", "nobody", folder], check=True)
    account = server_account(tmp_path)
    with monkeypatch.context() as broken:
        broken.setattr(os, "fwalk", power_cut)
        with pytest.raises(OSError, match="power cut"):
            private_folder(folder, account)
    private_folder(folder, account)
    assert owners(folder) == {account.uid}


def power_cut(folder: Path) -> None:
    raise OSError("power cut")


@as_root
def test_two_homes_have_two_accounts_and_one_home_keeps_its_own(tmp_path: Path) -> None:
    homes = [server_account(tmp_path / name) for name in ("one", "two")]
    assert homes[0].uid != homes[1].uid
    assert server_account(tmp_path / "one") == homes[0]


@as_root
def test_where_no_id_can_be_had_nobody_takes_over_and_that_is_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(accounts, "_is_mapped", lambda uid: uid not in OWN_IDS)
    account = server_account(tmp_path)
    assert account.uid == nobody().uid
    assert "run as `nobody`" in account.remark


def nobody() -> Account:
    entry = pwd.getpwnam("nobody")
    return Account(entry.pw_uid, entry.pw_gid, switched=True)


def owners(folder: Path) -> set[int]:
    return {path.lstat().st_uid for path in (folder, *folder.rglob("*"))}


def can_enter(folder: Path, account: Account) -> bool:
    command = ["/bin/ls", "."]
    listed = subprocess.run(command, check=False, capture_output=True, **account.enter(folder))
    return listed.returncode == 0


@as_root
def test_programs_behind_closed_folders_are_copied_with_their_libraries(tmp_path: Path) -> None:
    account = server_account(tmp_path)
    closed = tmp_path / "site"
    (closed / "package").mkdir(parents=True, mode=0o700)
    (closed / "package" / "program").write_text("#!/bin/sh\n")
    (closed / "libraries").mkdir()
    open_place = private_folder(Path("/run") / f"normlab-test-{os.getpid()}", account)
    try:
        parts = ["package", "libraries"]
        places = [tmp_path / "closed", open_place]
        found = reachable_copy(closed, parts, "package/program", places, account)
        assert found.is_relative_to(open_place)
        assert account.can_run(found)
        assert (found.parent.parent / "libraries").is_dir()
        assert reachable_copy(closed, parts, "package/program", places, account) == found
    finally:
        for path in sorted(open_place.rglob("*"), reverse=True):
            path.rmdir() if path.is_dir() else path.unlink()
        open_place.rmdir()


def test_a_folder_that_belongs_to_somebody_else_is_refused(tmp_path: Path) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (tmp_path / "link").symlink_to(elsewhere)
    with pytest.raises(ServerError, match="should be a folder of this account"):
        private_folder(tmp_path / "link", server_account(tmp_path))


def test_a_server_that_cannot_start_says_why(postgres: Postgres) -> None:
    postgres.start()
    postgres.stop()
    (postgres.folder / "data" / "postgresql.conf").write_text("no_such_setting = 1\n")
    started = time.monotonic()
    with pytest.raises(ServerError, match="no_such_setting"):
        postgres.start()
    assert time.monotonic() - started < 60
