"""The Python processes of the local stack: commands and readiness checks."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from http import HTTPStatus
from pathlib import Path
from typing import IO, Any, Protocol

import psutil

from normlab.home import Home
from normlab.stack.environments import (
    MARK,
    WORKER_ROLE,
    api_environment,
    forking_environment,
    mirror_environment,
    mlflow_environment,
    service_environment,
    sweep_environment,
)
from normlab.stack.mlflow_server import HEALTH_PATH, server_command
from normlab.stack.preloads import socket_of
from normlab.stack.processes import ManagedProcess
from normlab.stack.servers import Postgres, Redis
from runtime.preloaded import ForkedProcess, fork

#: A worker saves its running jobs first: each at the end of its step.
_STOP_SECONDS = {"worker": 90.0}
#: A busy machine answers late; the supervisor asks in the background.
_ASK_SECONDS = 30.0

_REFUSED = (
    "The service rejects the token in {}: it was revoked, or its user is disabled. Set NORMLAB_TOKEN to "
    "another one; `python -m migrations reset-admin` restores an admin (README, Operate)"
)


class Runnable(Protocol):
    """What a supervisor keeps running."""

    @property
    def pid(self) -> int | None: ...
    @property
    def alive(self) -> bool: ...
    @property
    def remarks(self) -> Sequence[str]: ...
    def start(self) -> None: ...
    def stop(self) -> None: ...


class Daemon(ManagedProcess):
    """One process with a group of its own; stopping it leaves nothing of the group.

    It may take `stop_seconds` to end well before it is killed.
    """

    remarks: Sequence[str] = ()

    def __init__(
        self,
        command: list[str],
        environment: Mapping[str, str],
        folder: Path,
        log: Path,
        stop_seconds: float = 30.0,
        preload: Path | None = None,
    ) -> None:
        """`preload`: the socket of a process that has imported what it needs, and forks it."""
        self.command = command
        self.log = log
        self._stop_seconds = stop_seconds
        self._environment = environment
        self._folder = folder
        self._preload = preload

    @property
    def exit_code(self) -> int | None:
        return self._process.poll() if self._process else None

    def start(self) -> None:
        # A child of the process before may have survived it and still hold its port or its devices.
        self._kill_group()
        with self.log.open("ab") as log, open(os.devnull, "rb") as nothing:
            self._process = self._fork(nothing, log) or subprocess.Popen(
                self.command,
                stdin=nothing,
                stdout=log,
                stderr=log,
                cwd=self._folder,
                env=dict(self._environment),
                start_new_session=True,
            )

    def _fork(self, nothing: IO[bytes], log: IO[bytes]) -> ForkedProcess | None:
        """None where no process forks: it then imports what it needs itself."""
        if self._preload is None:
            return None
        streams = (nothing.fileno(), log.fileno(), log.fileno())
        with suppress(OSError):
            return fork(
                self._preload, self.command[1:], self._environment, streams, folder=self._folder
            )
        return None

    def stop(self) -> None:
        """Only the parent is asked: it knows how to end its children well."""
        if self._process is None:
            return
        if self.alive:
            # It may end at this moment.
            with suppress(psutil.NoSuchProcess):
                self._process.terminate()
            with suppress(subprocess.TimeoutExpired, psutil.TimeoutExpired):
                self._process.wait(self._stop_seconds)
        self._kill_group()
        self._process = None

    def _kill_group(self) -> None:
        if self._process is not None:
            with suppress(ProcessLookupError):
                # The group's id is its leader's: `start_new_session` has made it so.
                os.killpg(self._process.pid, signal.SIGKILL)
            # Reaped, or it would stay as a zombie, which looks alive to whoever searches for leftovers.
            self._process.wait()


def make_daemons(home: Home, postgres: Postgres, redis: Redis) -> dict[str, Daemon]:
    """By name, in the order of their start."""
    api = ["runtime.http_server", "api.app:make_app", "--factory", "--host", "127.0.0.1"]
    api += ["--port", str(home.api_port), "--no-access-log", "--timeout-graceful-shutdown", "5"]
    mlflow = server_command(artifacts=home.folder / "mlflow", port=home.mlflow_port)
    for_forking = forking_environment(home)
    for_api = api_environment(home, postgres, redis)
    for_workers = service_environment(home, postgres, redis, WORKER_ROLE) | for_forking
    for_sweep = sweep_environment(home, postgres, redis)
    for_mirror = mirror_environment(home, postgres, redis)
    commands: dict[str, tuple[list[str], Mapping[str, str]]] = {
        "api": ([sys.executable, "-m", *api], for_api),
        "worker": ([sys.executable, "-m", "worker"], for_workers),
        "sweep": ([sys.executable, "-m", "worker.sweep"], for_sweep),
        "mirror": ([sys.executable, "-m", "worker.mirror"], for_mirror),
        "mlflow": (mlflow, mlflow_environment(home, postgres)),
    }
    return {
        name: Daemon(
            command,
            environment,
            home.folder,
            home.logs / f"{name}.log",
            _STOP_SECONDS.get(name, 30.0),
            socket_of(home, name),
        )
        for name, (command, environment) in commands.items()
    }


@dataclass(frozen=True, slots=True)
class Answer:
    """What a process says when it is asked whether it is ready; nothing at all while it is silent.

    `remark`: what a person should know although it is ready.
    """

    ready: bool
    detail: str = ""
    remark: str = ""


def make_checks(home: Home, token: str, worker: Runnable) -> dict[str, Callable[[], Answer]]:
    """By name, whether it is ready; what has no check is ready once it runs."""
    return {
        "mlflow": lambda: _ask(home.mlflow_url + HEALTH_PATH),
        "api": lambda: _ask(home.api_url + "/readyz"),
        "worker": lambda: _find_worker(home, token, worker.pid),
    }


def _find_worker(home: Home, token: str, pid: int | None) -> Answer:
    """Ready once the API lists this process as alive: the rows of earlier ones stay."""
    # Until our API listens there, another process may: it gets no token.
    if not home.is_served():
        return Answer(ready=False)
    status, document = _ask_as(token, f"{home.api_url}/api/v1/workers")
    if status in (HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN):
        # Nobody else can be asked; the stack works for all who have a token of their own.
        return Answer(ready=True, remark=_REFUSED.format(home.token_file))
    rows = document.get("items", ()) if status == HTTPStatus.OK else ()
    return Answer(ready=any(row["alive"] and row["process"] == pid for row in rows))


def _ask(url: str) -> Answer:
    status, document = _ask_as(None, url)
    if status is None:
        return Answer(ready=False)
    return Answer(status == HTTPStatus.OK, f"it answers {document.get('detail') or status}")


def _ask_as(token: str | None, url: str) -> tuple[int | None, Mapping[str, Any]]:
    """The status of the answer, None if there is none, and the mapping that is in it."""
    import httpx

    headers = {"Authorization": f"Bearer {token}"} if token else {}
    document: Any = {}
    try:
        # No proxy: the address is this machine's own, and the token must not go elsewhere.
        answer = httpx.get(url, headers=headers, timeout=_ASK_SECONDS, trust_env=False)
    except httpx.HTTPError:
        return None, {}
    with suppress(ValueError):
        document = answer.json()
    return answer.status_code, document if isinstance(document, dict) else {}


def leftovers(home: Home) -> list[psutil.Process]:
    """Marked processes of this home, other than ourselves."""
    found = []
    for process in psutil.process_iter():
        with suppress(psutil.Error, OSError):
            if process.pid != os.getpid() and process.environ().get(MARK) == str(home.folder):
                found.append(process)
    return found


def end_leftovers(home: Home) -> int:
    """Ends what a killed supervisor left behind; returns how many processes that were."""
    found = leftovers(home)
    for process in found:
        with suppress(psutil.NoSuchProcess):
            process.terminate()
    _, alive = psutil.wait_procs(found, timeout=10.0)
    # Again and again: a process that is being killed may have started another in the meantime.
    deadline = time.monotonic() + 10.0
    while alive and time.monotonic() < deadline:
        for process in alive:
            with suppress(psutil.NoSuchProcess):
                process.kill()
        psutil.wait_procs(alive, timeout=1.0)
        alive = leftovers(home)
    return len(found)


def describe_process(process: psutil.Process) -> dict[str, Any]:
    """Its memory with all its children, in bytes."""
    family = [process, *process.children(recursive=True)]
    memory = 0
    # A member may end while it is counted.
    for member in family:
        with suppress(psutil.Error):
            memory += member.memory_info().rss
    return {"processes": len(family), "memory_bytes": memory}
