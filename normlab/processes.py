"""Starting, finding and ending single processes. Knows nothing of what they do."""

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


def running_in(folder: Path, name: str) -> list[psutil.Process]:
    """Processes of that name whose working folder is `folder`: never one that merely got an old id."""
    return list(_running_in(folder, name))


def _running_in(folder: Path, name: str) -> Iterator[psutil.Process]:
    try:
        there = folder.stat()
    except FileNotFoundError:
        return
    for process in psutil.process_iter():
        with suppress(psutil.Error, OSError):
            if process.name() == name and os.path.samestat(os.stat(process.cwd()), there):
                yield process


def end_processes(
    processes: Sequence[psutil.Process], gently: signal.Signals, seconds: float = 10.0
) -> None:
    """The oldest gets the gentle signal and ends the others; what stays is killed."""
    if not processes:
        return
    with suppress(psutil.NoSuchProcess):
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
    seconds: float = 60.0,
) -> None:
    """Raises ServerError with the last log lines if the process ends or `seconds` pass."""
    deadline = time.monotonic() + seconds
    while not ready():
        if process.poll() is not None or time.monotonic() > deadline:
            lines = "\n".join(log.read_text(errors="replace").splitlines()[-15:])
            state = "ended" if process.poll() is not None else "does not answer"
            process.kill()
            raise ServerError(f"{name} {state}; the last lines of {log}:\n{lines}")
        time.sleep(0.02)


def reap(process: subprocess.Popen[bytes] | None) -> None:
    if process is not None:
        process.wait()
