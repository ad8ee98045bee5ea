"""Starting, finding and ending processes."""

import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import IO

import psutil

from normlab.accounts import Account
from normlab.errors import ServerError
from normlab.stack.activity import IDLE_SECONDS, Activity, last_lines
from runtime.preloaded import ForkedProcess


class ManagedProcess:
    """A process that this one starts and stops; `_process` is None while it is stopped."""

    _process: subprocess.Popen[bytes] | ForkedProcess | None = None

    @property
    def pid(self) -> int | None:
        return self._process.pid if self._process else None

    @property
    def alive(self) -> bool:
        return self._process is not None and self._process.poll() is None


def running_in(folder: Path, *names: str) -> list[psutil.Process]:
    """Processes of these names whose working folder is `folder`: never one that merely got an old id."""
    return list(_running_in(folder, names))


def _running_in(folder: Path, names: Sequence[str]) -> Iterator[psutil.Process]:
    try:
        there = folder.stat()
    except FileNotFoundError:
        return
    for process in psutil.process_iter():
        with suppress(psutil.Error, OSError):
            # The folder itself and not its path is compared: the server may have been started through a link, or
            # see another path than we do.
            if process.name() in names and os.path.samestat(os.stat(process.cwd()), there):
                yield process


def end_processes(
    processes: Sequence[psutil.Process], gently: signal.Signals, seconds: float = 10.0
) -> None:
    """The oldest gets the gentle signal and ends the others; what stays is killed."""
    if not processes:
        return
    with suppress(psutil.NoSuchProcess):
        # The oldest is the server itself. Signalled alone it ends its children in order; where one of
        # PostgreSQL's is killed, it assumes a crash and restarts all others.
        min(processes, key=_started).send_signal(gently)
    _, alive = psutil.wait_procs(list(processes), timeout=seconds)
    for process in alive:
        with suppress(psutil.NoSuchProcess):
            process.kill()
    psutil.wait_procs(alive, timeout=seconds)


def _started(process: psutil.Process) -> float:
    with suppress(psutil.Error):
        return process.create_time()
    return float("inf")


def start_process(
    command: list[str], folder: Path, account: Account, log: IO[bytes]
) -> subprocess.Popen[bytes]:
    """In a session of its own: a Ctrl-C in the terminal is for us, not for the server."""
    return subprocess.Popen(
        command,
        stdin=subprocess.DEVNULL,
        stdout=log,
        stderr=log,
        start_new_session=True,
        **account.enter(folder),
    )


def wait_until(
    ready: Callable[[], bool],
    process: subprocess.Popen[bytes],
    log: Path,
    name: str,
    *,
    while_waiting: Callable[[], None] = lambda: None,
    idle_seconds: float = IDLE_SECONDS,
) -> None:
    """Waits as long as the process lives and works, however long that is.

    Raises ServerError with the last log lines if it ends, or shows no sign of work for
    `idle_seconds`. What `while_waiting` raises ends the wait; it leaves no process behind either.
    """
    activity = Activity(process.pid, log)
    try:
        while not ready():
            while_waiting()
            if process.poll() is not None:
                raise ServerError(f"{name} ended; {last_lines(log)}")
            if activity.idle_seconds() > idle_seconds:
                raise ServerError(
                    f"{name} has neither answered nor made progress for {idle_seconds:g} s; "
                    f"{last_lines(log)}"
                )
            time.sleep(0.02)
    # Also a KeyboardInterrupt: whoever gave up waiting has no handle to stop the server with.
    except BaseException:
        process.kill()
        raise


def end_server(
    process: subprocess.Popen[bytes] | ForkedProcess | None,
    gently: signal.Signals,
    find: Callable[[], Sequence[psutil.Process]],
    seconds: float = 10.0,
) -> None:
    """Ends a server that ends its children itself; what `find` sees is ended where that fails.

    To look through all processes of a busy machine takes seconds, so a server that obeys needs no look.
    """
    if process is not None and process.poll() is None:
        process.send_signal(gently)
        with suppress(subprocess.TimeoutExpired):
            process.wait(seconds)
            return
    end_processes(find(), gently, seconds)
    if process is not None:
        process.wait()
