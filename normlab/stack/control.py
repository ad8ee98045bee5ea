"""Start, stop, status and backup of the local stack, through the supervisor's state file, signals and processes."""

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import psutil

from normlab.errors import StackError
from normlab.home import Home
from normlab.stack.daemons import describe_process, end_leftovers, leftovers
from normlab.stack.environments import (
    backup_environment,
    mirror_environment,
    python_path,
)
from normlab.stack.preloads import remove_sockets, socket_of
from normlab.stack.servers import Postgres, Redis, make_servers
from normlab.stack.supervisor import ADOPT_STORAGE, Supervisor
from runtime.preloaded import fork

Show = Callable[[Mapping[str, Any]], None]

#: Longer than the supervisor waits for any part before it kills it.
_STOP_SECONDS = 120.0


def run_in_foreground(home: Home, show: Show, *, adopt_storage: bool = False) -> None:
    """Returns when a signal has stopped the stack."""
    home.make_folders()
    supervisor = Supervisor(home, show, adopt_storage=adopt_storage)
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, supervisor.ask_to_stop)
    supervisor.run()


def start_detached(home: Home, show: Show, *, adopt_storage: bool = False) -> dict[str, Any]:
    """Returns the stack's state once it is ready; one that is starting or running is joined.

    `show` gets the state again and again; what it raises ends the wait, and the stack goes on.
    """
    home.make_folders()
    launched = None if home.is_locked() else _launch_supervisor(home, adopt_storage=adopt_storage)
    try:
        return _follow(home, show, launched)
    except KeyboardInterrupt:
        if launched is not None:
            _end(psutil.Process(launched.pid), home, show)
        raise


def stop(home: Home, show: Show) -> int:
    """Stops the stack and what a killed supervisor left; returns how many leftovers that were."""
    supervisor = _supervisor(home)
    if supervisor is not None:
        _end(supervisor, home, show)
        if home.read_state().get("phase") in ("stopped", "failed"):
            # It has looked for leftovers itself, as its last act.
            return 0
    return _sweep(home)


def _end(supervisor: psutil.Process, home: Home, show: Show) -> None:
    """Waits as long as one part after the other stops; a supervisor that hangs is killed."""
    with suppress(psutil.NoSuchProcess):
        supervisor.terminate()
        state: dict[str, Any] = {}
        moved_at = time.monotonic()
        while time.monotonic() - moved_at < _STOP_SECONDS:
            with suppress(psutil.TimeoutExpired):
                supervisor.wait(0.2)
                return
            before, state = state, home.read_state()
            # Any change starts the clock anew: a worker may save many jobs, and a stop that moves on is not a
            # stop that hangs.
            if state != before:
                moved_at = time.monotonic()
            if state.get("phase") not in ("starting", "ready"):
                show(state)
        supervisor.kill()
        supervisor.wait(10.0)


def status(home: Home) -> dict[str, Any]:
    """The supervisor's state with what the system says now; phase `down` without a supervisor."""
    state = home.read_state()
    processes = state.get("processes", [])
    if not home.is_locked():
        left = len(leftovers(home))
        return {"phase": "down", "home": str(home.folder), "processes": [], "leftovers": left}
    for row in processes:
        row["uptime_seconds"] = max(0.0, time.time() - row.pop("started_at"))
        with suppress(psutil.Error):
            row |= describe_process(psutil.Process(row["pid"]))
    return {**state, "home": str(home.folder), "processes": processes}


def _launch_supervisor(home: Home, *, adopt_storage: bool) -> "subprocess.Popen[bytes]":
    log = home.logs / "supervisor.log"
    environment = {
        **os.environ,
        "NORMLAB_HOME": str(home.folder),
        "NORMLAB_API_PORT": str(home.api_port),
        "NORMLAB_MLFLOW_PORT": str(home.mlflow_port),
        "PYTHONPATH": python_path(),
    }
    with log.open("ab") as file:
        return subprocess.Popen(
            [
                sys.executable,
                "-m",
                "normlab.stack.supervisor",
                *([ADOPT_STORAGE] if adopt_storage else []),
            ],
            stdin=subprocess.DEVNULL,
            stdout=file,
            stderr=file,
            env=environment,
            start_new_session=True,
        )


def _follow(home: Home, show: Show, launched: "subprocess.Popen[bytes] | None") -> dict[str, Any]:
    while True:
        state = home.read_state()
        # Until the new supervisor has written its own state, the file is the earlier one's, which may well say
        # `ready`.
        if state and (launched is None or state["supervisor"]["pid"] == launched.pid):
            show(state)
            if state["phase"] == "ready":
                return state
            if state["phase"] == "failed":
                raise StackError(state["error"])
        if launched is not None and launched.poll() is not None and home.is_locked():
            launched = None  # another `up` was quicker: join it
        elif not (launched.poll() is None if launched else home.is_locked()):
            raise StackError(f"the supervisor ended; see {home.logs / 'supervisor.log'}")
        time.sleep(0.1)


def run_mirror(home: Home, *options: str) -> int:
    """The exit status of `python -m worker.mirror OPTIONS` beside the stack's own mirror. Raises StackError."""
    if not home.is_locked():
        raise StackError(
            f"no stack is running in {home.folder}: start it with `normlab up --detach`"
        )
    running = {"NORMLAB_MLFLOW_URL": home.running_mlflow_url}
    environment = mirror_environment(home, *make_servers(home, lambda: None)) | running
    arguments = ["-m", "worker.mirror", *options]
    with suppress(OSError):
        # By the process that has imported what a mirror needs, which takes seconds.
        socket = socket_of(home, "mirror")
        return fork(
            socket, arguments, environment, (0, 1, 2), folder=home.folder, bound=True
        ).wait()
    command = [sys.executable, *arguments]
    return subprocess.run(command, check=False, env=environment, cwd=home.folder).returncode


def database_url(home: Home) -> str:
    """Of the stack's PostgreSQL, for SQLAlchemy; holds its owner's password."""
    return Postgres(home.folder / "postgres", sockets=home.sockets).url("normlab")


def back_up(home: Home, folder: Path, *, quick: bool = False) -> int:
    """The exit status of `python -m store backup`, whose option `quick` is. Of a stack that is down, its database is started for this.

    Raises StackError or ServerError.
    """
    folder = folder.expanduser().absolute()
    if folder.resolve().is_relative_to(home.folder.resolve()):
        raise StackError(
            f"{folder} is in the home itself: name a folder outside of it, preferably on another disk"
        )
    if not (home.folder / "postgres" / "data").exists():
        raise StackError(f"there is no database in {home.folder}: nothing to back up")
    options = ["--quick"] if quick else []
    if home.is_locked():
        return _run_store(home, make_servers(home, lambda: None)[0], "backup", folder, *options)
    with home.lock(), _database_alone(home) as postgres:
        return _run_store(home, postgres, "backup", folder, *options)


def restore(home: Home, folder: Path) -> int:
    """The exit status of `python -m store restore`; a home that could not be filled is left empty.

    Raises StackError or ServerError.
    """
    folder = folder.expanduser().absolute()
    if not (folder / "manifest.json").is_file():
        raise StackError(f"there is no complete backup in {folder}: it has no manifest.json")
    if home.folder.exists() and any(home.folder.iterdir()):
        raise StackError(
            f"{home.folder} is not empty, and restoring overwrites nothing: set NORMLAB_HOME to a new folder, "
            "or stop its stack and move it away"
        )
    home.make_folders()
    with home.lock():
        code = 1
        try:
            with _database_alone(home) as postgres:
                postgres.create_databases("normlab", "mlflow")
                code = _run_store(home, postgres, "restore", folder)
        finally:
            if code != 0:
                for path in home.folder.iterdir():
                    shutil.rmtree(path) if path.is_dir() else path.unlink()
    return code


@contextmanager
def _database_alone(home: Home) -> Iterator[Postgres]:
    postgres, _ = make_servers(home, lambda: None)
    postgres.start()
    try:
        yield postgres
    finally:
        postgres.stop()


def _run_store(home: Home, postgres: Postgres, verb: str, folder: Path, *options: str) -> int:
    command = [sys.executable, "-m", "store", verb, str(home.folder), str(folder), *options]
    environment = backup_environment(home, postgres)
    return subprocess.run(command, check=False, env=environment, cwd=home.folder).returncode


def _supervisor(home: Home) -> psutil.Process | None:
    if not home.is_locked():
        return None
    deadline = time.monotonic() + 2.0
    while time.monotonic() < deadline:
        known = home.read_state().get("supervisor", {"pid": 0, "created": 0.0})
        with suppress(psutil.NoSuchProcess):
            process = psutil.Process(known["pid"])
            # The process id alone may be taken again by any other process, which must not be signalled.
            if abs(process.create_time() - known["created"]) < 1.0:
                return process
        # One that has just begun has the lock but has not yet said who it is.
        time.sleep(0.1)
    raise StackError(
        f"a process holds {home.folder / 'stack.lock'}, but {home.folder / 'stack.json'} does not "
        "name it; find it with `fuser` and end it"
    )


def _sweep(home: Home) -> int:
    if not home.folder.exists():
        return 0
    found = end_leftovers(home)
    remove_sockets(home)
    # The servers carry no mark in their environment (and root's run as another user): they are found by their
    # working folder.
    Redis(home.folder / "redis", sockets=home.sockets).stop()
    Postgres(home.folder / "postgres", sockets=home.sockets).stop()
    return found
