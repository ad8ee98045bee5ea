"""Helper processes, forked by a server that has loaded their libraries, and the JSON lines spoken with them.

Each end of a socket pair sees the other's end, however that comes. What a helper may use is counted in CPU time:
on a busy machine it works slowly, and to start again would only take longer. A helper that uses none hangs.

HelperGone
├── TooSlow
├── TooBig
└── Hung
"""

import contextlib
import json
import math
import os
import socket
import subprocess
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

import psutil

POLL_SECONDS = 0.1
#: A helper that works for longer gets a lower priority than those with short questions.
SHORT_SECONDS = 1.0
NICE = 5
_KILL_SECONDS = 5.0


class HelperGone(Exception):
    """The helper ended, or was ended, before it answered."""


class TooSlow(HelperGone):
    """The helper used more CPU time than its limit and was ended."""


class TooBig(HelperGone):
    """The helper grew beyond its limit and was ended."""


class Hung(HelperGone):
    """The helper neither answered nor used the CPU and was ended."""


@dataclass(frozen=True, slots=True)
class Limits:
    """Of one exchange: CPU time, time without any use of the CPU, and resident memory."""

    cpu_seconds: float
    idle_seconds: float
    megabytes: int


class Watch:
    """What a process has used since it is watched."""

    def __init__(self, process: psutil.Process, limits: Limits) -> None:
        self._process = process
        self._limits = limits
        self._before = self._used = _cpu_seconds(process)
        self._moved_at = time.monotonic()

    @property
    def cpu_seconds(self) -> float:
        return self._used - self._before

    def guard(self) -> None:
        """Raises `TooSlow`, `TooBig` or `Hung`."""
        if (used := _cpu_seconds(self._process)) > self._used:
            self._used, self._moved_at = used, time.monotonic()
        if self.cpu_seconds > self._limits.cpu_seconds:
            raise TooSlow(f"needed more than {self._limits.cpu_seconds:g} seconds of CPU time")
        if time.monotonic() - self._moved_at > self._limits.idle_seconds:
            raise Hung(f"did nothing for {self._limits.idle_seconds:g} seconds")
        if self._process.memory_info().rss > self._limits.megabytes * 2**20:
            raise TooBig(f"needed more than {self._limits.megabytes} MB")


class Helper:
    """A running helper; one exchange at a time."""

    def __init__(self, process: psutil.Process, connection: socket.socket) -> None:
        self._process = process
        self._socket = connection
        self._is_slowed = False

    @property
    def pid(self) -> int:
        pid: int = self._process.pid
        return pid

    @property
    def is_fresh(self) -> bool:
        """Runs, with its first priority and about its first memory: one that had much to do lacks both."""
        return not self._is_slowed and _is_open(self._socket)

    def exchange(self, request: Mapping[str, Any], limits: Limits) -> dict[str, Any]:
        """The answer to one request. After any error the helper is dead: half a line may be on its way."""
        try:
            with _broken_off():
                watch = Watch(self._process, limits)
                _send(self._socket, request, limits.idle_seconds)
                for answer in _receive(self._socket):
                    if answer is not None:
                        return answer
                    watch.guard()
                    self._lower_priority(watch.cpu_seconds)
                raise HelperGone("ended")
        except HelperGone:
            self.close()
            raise

    def _lower_priority(self, cpu_seconds: float) -> None:
        if cpu_seconds > SHORT_SECONDS and not self._is_slowed:
            self._is_slowed = True
            self._process.nice(max(NICE, self._process.nice()))

    def kill(self) -> None:
        """May be called beside an exchange, which then raises `HelperGone`."""
        with contextlib.suppress(psutil.Error):
            self._process.kill()

    def close(self) -> None:
        """Ends it at once; harmless when it has ended."""
        self.kill()
        with contextlib.suppress(psutil.Error):
            self._process.wait(_KILL_SECONDS)
        self._socket.close()


class HelperServer:
    """The process that forks the helpers; a helper is ready in milliseconds. Safe for many threads."""

    def __init__(self, command: Sequence[str], *, idle_seconds: float, megabytes: int) -> None:
        # Loading the libraries takes as long as it takes, while it makes progress.
        self._limits = Limits(math.inf, idle_seconds, megabytes)
        ours, theirs = socket.socketpair()
        with theirs, ExitStack() as stack:
            self._socket = stack.enter_context(ours)
            self._process = subprocess.Popen(
                command,
                stdin=theirs.fileno(),
                env={**os.environ, "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""},
                # A Ctrl-C in the terminal is for this process, which ends its helpers itself.
                process_group=0,
            )
            stack.pop_all()
        self._watched = psutil.Process(self._process.pid)
        self._turn = threading.Lock()

    @property
    def pid(self) -> int:
        return self._process.pid

    def wait_until_ready(self) -> None:
        """Its first line says that it is. Raises `HelperGone` when it has ended, or does nothing."""
        self._await_line()

    def fork(self) -> Helper:
        """A new helper; raises `HelperGone`."""
        with _broken_off(), ExitStack() as stack:
            ours, theirs = socket.socketpair()
            stack.enter_context(ours)
            with theirs, self._turn:
                socket.send_fds(self._socket, [b"f"], [theirs.fileno()])
                answer = self._await_line()
            if "pid" not in answer:
                raise HelperGone(f"could not be started: {answer.get('error')}")
            helper = Helper(psutil.Process(answer["pid"]), ours)
            stack.pop_all()
        return helper

    def _await_line(self) -> dict[str, Any]:
        try:
            with _broken_off():
                watch = Watch(self._watched, self._limits)
                for answer in _receive(self._socket):
                    if answer is not None:
                        return answer
                    watch.guard()
                raise HelperGone(f"ended (code {self._process.poll()})")
        except HelperGone:
            self.kill()
            raise

    def wait(self) -> None:
        """Until it has ended."""
        self._process.wait()

    def kill(self) -> None:
        """Its helpers end with it."""
        self._process.kill()

    def close(self) -> None:
        """Ends it at once; harmless when it has ended."""
        self.kill()
        self._process.wait()
        self._socket.close()


@contextlib.contextmanager
def _broken_off() -> Iterator[None]:
    try:
        yield
    except TimeoutError as error:
        raise Hung("did not take the request") from error
    except (OSError, ValueError, psutil.Error) as error:
        raise HelperGone(f"broke off: {error}") from error


def _send(connection: socket.socket, document: Mapping[str, Any], seconds: float) -> None:
    connection.settimeout(seconds)
    connection.sendall(json.dumps(document).encode() + b"\n")


def _receive(connection: socket.socket) -> Iterator[dict[str, Any] | None]:
    """The next line; before it, None again and again while nothing comes. Ends with the other side."""
    connection.settimeout(POLL_SECONDS)
    line = bytearray()
    while not line.endswith(b"\n"):
        try:
            received = connection.recv(2**16)
        except TimeoutError:
            yield None
            continue
        if not received:
            return
        line += received
    answer: dict[str, Any] = json.loads(line)
    yield answer


def _is_open(connection: socket.socket) -> bool:
    """Between two exchanges: a process has ended when its end is closed, also one that is still a zombie."""
    try:
        connection.setblocking(False)
        return bool(connection.recv(1, socket.MSG_PEEK))
    except BlockingIOError:
        return True
    except OSError:
        return False


def _cpu_seconds(process: psutil.Process) -> float:
    times = process.cpu_times()
    return float(times.user + times.system)
