"""PostgreSQL and Redis as local processes, for `normlab up` and for tests.

Both listen on a Unix socket in a folder of mode 0700 and on no
port; PostgreSQL also asks for a password, which lies in a file of mode 0600.
"""

import hashlib
import os
import shutil
import signal
import socket
import subprocess
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import psutil

from normlab.accounts import private_folder, server_account, socket_folder
from normlab.errors import ServerError
from normlab.home import Home
from normlab.stack.clusters import PASSWORD, initialize
from normlab.stack.processes import (
    ManagedProcess,
    end_processes,
    end_server,
    running_in,
    start_process,
    wait_until,
)
from normlab.stack.programs import (
    REDIS_VARIABLE,
    Program,
    check_postgres,
    check_redis,
    postgres_candidates,
    redis_candidates,
    start_first,
)

__all__ = ["Postgres", "Redis", "ServerError"]

#: Made with the data folder: owns the tables, migrates them, and nothing else runs as it.
OWNER = "normlab"


class Postgres(ManagedProcess):
    """PostgreSQL on `folder`, which holds its data, its password and nothing else.

    `durable=False` gives up safety against a power cut for speed: for tests. `while_waiting` is
    called again and again until it is ready; what it raises ends the start. `remarks` gets a
    sentence on each program that could not be used.
    """

    def __init__(
        self,
        folder: Path,
        *,
        sockets: Path | None = None,
        log: Path | None = None,
        durable: bool = True,
        while_waiting: Callable[[], None] = lambda: None,
    ) -> None:
        self.folder = folder.absolute()
        self.sockets = sockets or socket_folder(self.folder)
        self.log = log or self.folder / "postgres.log"
        self._data = self.folder / "data"
        self._durable = durable
        self._while_waiting = while_waiting
        self._account = server_account(self.folder.parent)
        self._program: Program | None = None
        self.remarks: list[str] = []

    def url(self, database: str, role: str = OWNER) -> str:
        """For SQLAlchemy; holds the role's password."""
        password = self.password(role)
        return f"postgresql+psycopg://{role}:{password}@/{database}?host={self.sockets}"

    def password(self, role: str = OWNER) -> str:
        """The owner's lies in a file; the others' follow from it, and it doesn't follow from theirs."""
        secret = (self.folder / PASSWORD).read_text()
        if role == OWNER:
            return secret
        # A keyed digest: whoever holds a role's password can compute neither the owner's nor another role's, and
        # no second file has to be kept.
        return hashlib.blake2b(role.encode(), key=secret.encode(), digest_size=24).hexdigest()

    def start(self) -> None:
        """Returns when it accepts connections; what an earlier one left behind is cleared first."""
        self.remarks[:] = [self._account.remark] if self._account.remark else []
        # Nobody may run on this data folder: PostgreSQL's own guard against a second server, postmaster.pid, is
        # removed below.
        end_processes(running_in(self._data, "postgres"), signal.SIGINT)
        private_folder(self.folder, self._account)
        private_folder(self.sockets, self._account)
        self._program = start_first(
            postgres_candidates([self.folder.parent, self.sockets], self._account),
            lambda candidate: check_postgres(candidate, self._data, self._account),
            self._start,
            self.remarks.append,
        )

    def _start(self, program: Program) -> None:
        if not self._data.exists():
            initialize(self.folder, program.path, self._account, durable=self._durable)
        # No server runs here any more, so that the file is of one that was killed. PostgreSQL refuses to start if
        # its process id belongs to anybody now, such as after a reboot of a container.
        (self._data / "postmaster.pid").unlink(missing_ok=True)
        with self.log.open("ab") as log:
            command = [str(program.path), *self._options(program)]
            self._process = start_process(command, self._data, self._account, log)
        wait_until(
            self._is_ready,
            self._process,
            self.log,
            "PostgreSQL",
            while_waiting=self._while_waiting,
        )

    def create_databases(self, *names: str) -> None:
        """Creates those that are missing."""
        for name in names:
            # PostgreSQL has no CREATE DATABASE IF NOT EXISTS.
            if self._sql(f"SELECT 1 FROM pg_database WHERE datname = '{name}'") != "1":  # noqa: S608
                self._sql(f'CREATE DATABASE "{name}"')

    def find_programs(self) -> Path:
        """The folder of the programs that fit its data, such as `pg_dump`. Raises ServerError."""
        return start_first(
            postgres_candidates([self.folder.parent, self.sockets], self._account),
            lambda candidate: check_postgres(candidate, self._data, self._account),
            lambda program: None,
            self.remarks.append,
        ).path.parent

    def stop(self) -> None:
        """Open transactions are rolled back; harmless when it isn't running."""
        # SIGINT is PostgreSQL's fast shutdown: it rolls transactions back and ends. SIGTERM would wait until
        # every client has gone.
        end_server(self._process, signal.SIGINT, lambda: running_in(self._data, "postgres"))
        self._process = None
        _remove(self.sockets)

    def _options(self, program: Program) -> list[str]:
        settings = {
            # No port: nobody else on this machine can even try a password.
            "listen_addresses": "",
            "unix_socket_directories": str(self.sockets),
            "unix_socket_permissions": "0700",
            "max_connections": "200",
            "cluster_name": "normlab",
            "logging_collector": "off",
        }
        if program.major >= 18:
            # PostgreSQL 18 would start three I/O workers more; for one machine's small database they are memory
            # without use.
            settings["io_method"] = "sync"
        if not self._durable:
            settings |= {"fsync": "off", "synchronous_commit": "off", "full_page_writes": "off"}
        options = [part for item in settings.items() for part in ("-c", "=".join(item))]
        return ["-D", self._account.working_folder(self._data), *options]

    def _is_ready(self) -> bool:
        """The eighth line of postmaster.pid is the server's own word for it."""
        with suppress(OSError, IndexError):
            lines = (self._data / "postmaster.pid").read_text().splitlines()
            # The process id as well: the file of an earlier server may say `ready` until the new one has
            # overwritten it.
            return lines[0] == str(self.pid) and lines[7].strip() == "ready"
        return False

    def _sql(self, statement: str) -> str:
        assert self._program is not None, "start() comes first"
        done = subprocess.run(
            [
                self._program.path.with_name("psql"),
                "-XAtq",
                "-v",
                "ON_ERROR_STOP=1",
                "-c",
                statement,
            ],
            check=False,
            text=True,
            capture_output=True,
            # psql must not take a host, a user or a password from the environment of the person who starts the
            # stack.
            env={
                "PGHOST": str(self.sockets),
                "PGUSER": OWNER,
                "PGPASSWORD": self.password(),
                "PGDATABASE": "postgres",
                "PATH": os.defpath,
            },
        )
        if done.returncode != 0:
            raise ServerError(f"PostgreSQL refused {statement!r}: {done.stderr.strip()}")
        return done.stdout.strip()


class Redis(ManagedProcess):
    """Redis without persistence: SQL is the truth, the broker may forget everything."""

    def __init__(
        self,
        folder: Path,
        *,
        sockets: Path | None = None,
        log: Path | None = None,
        while_waiting: Callable[[], None] = lambda: None,
    ) -> None:
        self.folder = folder.absolute()
        self.sockets = sockets or socket_folder(self.folder)
        self.log = log or self.folder / "redis.log"
        self._while_waiting = while_waiting
        self._account = server_account(self.folder.parent)
        self.remarks: list[str] = []

    @property
    def socket(self) -> Path:
        return self.sockets / "redis.sock"

    @property
    def url(self) -> str:
        """For Celery, which calls a Unix socket `redis+socket`; redis-py says `unix`."""
        return f"redis+socket://{self.socket}"

    def start(self) -> None:
        """Returns when it answers; what an earlier one left behind is cleared first."""
        self.remarks.clear()
        end_processes(self._running(), signal.SIGTERM)
        private_folder(self.folder, self._account)
        private_folder(self.sockets, self._account)
        start_first(
            redis_candidates([self.folder.parent, self.sockets], self._account),
            lambda candidate: check_redis(candidate, self._account),
            self._start,
            self.remarks.append,
        )

    def _start(self, program: Program) -> None:
        self.socket.unlink(missing_ok=True)
        command = [
            str(program.path), "--port", "0", "--unixsocket", str(self.socket),
            "--unixsocketperm", "700", "--save", "", "--appendonly", "no", "--daemonize", "no",
            # Nothing in it expires or is rehashed: its background work may wake it once a second, not ten times.
            "--hz", "1", "--dynamic-hz", "no",
            "--dir", self._account.working_folder(self.folder),
        ]  # fmt: skip
        with self.log.open("ab") as log:
            self._process = start_process(command, self.folder, self._account, log)
        wait_until(
            self._is_ready, self._process, self.log, "Redis", while_waiting=self._while_waiting
        )

    def stop(self) -> None:
        """Harmless when it isn't running."""
        end_server(self._process, signal.SIGTERM, self._running)
        self._process = None
        self.socket.unlink(missing_ok=True)
        _remove(self.sockets)

    def _running(self) -> list[psutil.Process]:
        named = Path(os.environ.get(REDIS_VARIABLE, "")).name
        return running_in(self.folder, "redis-server", "valkey-server", named)

    def _is_ready(self) -> bool:
        with suppress(OSError), socket.socket(socket.AF_UNIX) as connection:
            connection.settimeout(1.0)
            connection.connect(str(self.socket))
            connection.sendall(b"PING\r\n")
            return connection.recv(16).startswith(b"+PONG")
        return False


def make_servers(home: Home, while_waiting: Callable[[], None]) -> tuple[Postgres, Redis]:
    """Of the stack in this home, not started yet."""
    postgres = Postgres(
        home.folder / "postgres",
        sockets=home.sockets,
        log=home.logs / "postgres.log",
        while_waiting=while_waiting,
    )
    redis = Redis(
        home.folder / "redis",
        sockets=home.sockets,
        log=home.logs / "redis.log",
        while_waiting=while_waiting,
    )
    return postgres, redis


def _remove(sockets: Path) -> None:
    """The socket folder, unless another server still uses it."""
    for copy in sockets.glob("programs-*"):
        shutil.rmtree(copy, ignore_errors=True)
    with suppress(OSError):
        sockets.rmdir()
