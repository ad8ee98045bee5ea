"""The home of a local stack: its folder, ports, token and log limits."""

import fcntl
import json
import os
import secrets
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any
from urllib.parse import urlsplit

import psutil

from normlab.accounts import socket_folder
from normlab.errors import StackError

#: The service refuses a shorter one for its first admin.
_SHORTEST_TOKEN = 32
#: Two readings of when a process began differ by rounding only.
_SAME_START_SECONDS = 1.0


SIZE_VARIABLE = "NORMLAB_LOG_MEGABYTES"
COUNT_VARIABLE = "NORMLAB_LOG_FILES"
_MEGABYTE = 10**6


@dataclass(frozen=True, slots=True)
class LogLimits:
    """A log of `size` bytes is emptied; `kept` older pieces stay, the newest of them as `.1`."""

    size: int = 10 * _MEGABYTE
    kept: int = 3

    @classmethod
    def from_environment(cls, environment: Mapping[str, str] = os.environ) -> "LogLimits":
        """Raises StackError for what is no size or no number of files."""
        megabytes = environment.get(SIZE_VARIABLE) or "10"
        kept = environment.get(COUNT_VARIABLE) or "3"
        try:
            size = int(float(megabytes) * _MEGABYTE)
        except (ValueError, OverflowError):
            size = 0
        if size < 1:
            raise StackError(f"{SIZE_VARIABLE} must be a positive number but is {megabytes!r}")
        if not kept.isdecimal() or not 1 <= int(kept) <= 1000:
            raise StackError(f"{COUNT_VARIABLE} must be a number from 1 to 1000 but is {kept!r}")
        return cls(size, int(kept))


@dataclass(frozen=True, slots=True)
class Home:
    """NORMLAB_HOME and the ports: what tells two stacks on one machine apart."""

    folder: Path
    api_port: int = 8000
    mlflow_port: int = 5000
    log_limits: LogLimits = field(default_factory=LogLimits)

    @classmethod
    def from_environment(cls, environment: Mapping[str, str] = os.environ) -> "Home":
        """Raises StackError for a port that is none, or a limit of the logs."""
        # Root's servers run as another user, which /root is closed to.
        default = "/var/lib/normlab" if os.geteuid() == 0 else "~/.normlab"
        folder = Path(environment.get("NORMLAB_HOME") or default).expanduser().absolute()
        return cls(
            folder,
            api_port=_port(environment, "NORMLAB_API_PORT", 8000),
            mlflow_port=_port(environment, "NORMLAB_MLFLOW_PORT", 5000),
            log_limits=LogLimits.from_environment(environment),
        )

    @property
    def logs(self) -> Path:
        return self.folder / "logs"

    @property
    def storage(self) -> Path:
        return self.folder / "storage"

    @property
    def sockets(self) -> Path:
        return socket_folder(self.folder)

    @property
    def api_url(self) -> str:
        return f"http://127.0.0.1:{self.api_port}"

    @property
    def running_api_url(self) -> str:
        """Where this home's stack says that its API listens, whatever port it was started with."""
        return str(self.read_state().get("api_url") or self.api_url)

    def is_served(self) -> bool:
        """Whether the process that listens at `running_api_url` is this home's API.

        While the stack is down, anybody on this machine may listen there and wait for a token. A
        `stack.json` that a crash has left proves nothing: the process ids in it may be taken again.
        """
        if not self.is_locked():
            return False
        state = self.read_state()
        port = urlsplit(self.running_api_url).port
        rows = [row for row in state.get("processes", ()) if row.get("name") == "api"]
        return any(_is_listening(row, port) for row in rows)

    @property
    def mlflow_url(self) -> str:
        return f"http://127.0.0.1:{self.mlflow_port}"

    @property
    def running_mlflow_url(self) -> str:
        """Where this home's stack says that its MLflow listens, whatever port it was started with."""
        return str(self.read_state().get("mlflow_url") or self.mlflow_url)

    def make_folders(self) -> None:
        """Closed to others; root's can be passed, because its servers run as another user."""
        try:
            if not self.folder.exists():
                self.folder.parent.mkdir(parents=True, exist_ok=True)
                self.folder.mkdir(mode=0o711 if os.geteuid() == 0 else 0o700)
            for folder in (self.logs, self.storage, self.folder / "mlflow", self.folder / "data"):
                folder.mkdir(mode=0o700, exist_ok=True)
        except OSError as error:
            raise StackError(
                f"NORMLAB_HOME={self.folder} cannot be used: {error.strerror}; "
                "set NORMLAB_HOME to a folder that you may write to"
            ) from error

    @property
    def token_file(self) -> Path:
        return self.folder / "token"

    def token(self) -> str | None:
        try:
            return self.token_file.read_text().strip() or None
        except OSError:
            return None

    def ensure_token(self) -> str:
        """The first admin's token of this stack, made once. Raises StackError for one that could be guessed."""
        token = self.token()
        if token is not None and len(token) < _SHORTEST_TOKEN:
            raise StackError(
                f"the token in {self.token_file} has {len(token)} characters and needs at least "
                f"{_SHORTEST_TOKEN}: remove the file, and a new token is created"
            )
        if token is None:
            token = f"nl_{secrets.token_urlsafe(32)}"
            # Made with its mode: written first and closed to others afterwards, it could be read in between.
            descriptor = os.open(self.token_file, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
            with os.fdopen(descriptor, "w") as file:
                file.write(f"{token}\n")
        return token

    def read_state(self) -> dict[str, Any]:
        """What the supervisor last wrote; empty if it never ran."""
        try:
            state = json.loads((self.folder / "stack.json").read_text())
        except (OSError, ValueError):
            return {}
        return state if isinstance(state, dict) else {}

    def write_state(self, state: Mapping[str, Any]) -> None:
        unfinished = self.folder / "stack.json.new"
        unfinished.write_text(json.dumps(state, indent=1))
        # Readers never see half of it.
        unfinished.replace(self.folder / "stack.json")

    def is_locked(self) -> bool:
        """Whether a supervisor is alive: its lock goes with it, even at a power cut."""
        try:
            with open(self.folder / "stack.lock") as file:
                # A shared lock, so that two readers don't take each other for a supervisor.
                fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
        except OSError:
            return False
        return False

    @contextmanager
    def lock(self) -> Iterator[None]:
        """Raises StackError if a supervisor holds it; `is_locked` elsewhere holds it for an instant."""
        with open(self.folder / "stack.lock", "a") as file:
            deadline = time.monotonic() + 1.0
            while not _locked(file):
                if time.monotonic() > deadline:
                    raise StackError(f"a stack is already running in {self.folder}")
                time.sleep(0.05)
            yield


def seconds_after_boot(process: psutil.Process) -> float:
    """When it began; unlike its `create_time`, this doesn't change when the clock is set."""
    return process.create_time() - psutil.boot_time()


def _is_listening(row: Mapping[str, Any], port: int | None) -> bool:
    """Whether the process of this row of `stack.json` runs as us and listens at the port.

    The user is checked because root sees everybody's connections.
    """
    pid, began = row.get("pid"), row.get("seconds_after_boot")
    if pid is None or began is None:
        return False
    try:
        process = psutil.Process(pid)
        if process.uids().effective != os.geteuid():
            return False
        if abs(seconds_after_boot(process) - began) > _SAME_START_SECONDS:
            return False
        connections = process.net_connections("tcp")
    except (psutil.Error, OSError):
        return False
    return any(
        one.status == psutil.CONN_LISTEN and one.laddr and one.laddr[1] == port
        for one in connections
    )


def _locked(file: IO[str]) -> bool:
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _port(environment: Mapping[str, str], name: str, default: int) -> int:
    text = environment.get(name) or str(default)
    if not text.isdecimal() or not 1 <= int(text) <= 65535:
        raise StackError(f"{name} must be a port from 1 to 65535 but is {text!r}")
    return int(text)
