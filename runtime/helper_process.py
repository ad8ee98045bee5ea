"""Helper processes, supervised: one that answers JSON lines for as long as it lives, and commands that read bytes,
write bytes and end.

Both lead a process group of their own, which a Ctrl-C in the terminal doesn't reach, and which is killed as a whole
when the helper is over, however that comes.
"""

import contextlib
import json
import os
import socket
import tempfile
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import IO, Any, Self

import psutil

from runtime import preloaded
from runtime.preloaded import ForkedProcess
from runtime.supervision import (
    POLL_SECONDS,
    HelperGone,
    Limits,
    Stopped,
    Watch,
    describe_exit,
    helper_errors,
    kill_group,
    wait_for_exit,
)

#: A helper that works for longer gets a lower priority than those with short questions.
SHORT_SECONDS = 1.0
NICE = 5
#: Characters of its stderr that are kept of a command that failed.
LONGEST_STDERR = 4000


class HelperProcess:
    """A running helper; one exchange at a time."""

    def __init__(
        self, process: psutil.Process, connection: socket.socket, *, leads_group: bool
    ) -> None:
        self._process = process
        self._socket = connection
        self._leads_group = leads_group
        self._is_slowed = False
        self._is_closed = False

    @classmethod
    def start(cls, command: Sequence[str], environment: Mapping[str, str] | None = None) -> Self:
        """A command that reads requests from stdin, and writes answers to stdout; `environment`: in addition to
        this process's."""
        ours, theirs = socket.socketpair()
        with theirs, ExitStack() as stack:
            stack.enter_context(ours)
            process = start_preloaded(
                command, environment, stdin=theirs.fileno(), stdout=theirs.fileno()
            )
            stack.pop_all()
        return cls(process, ours, leads_group=True)

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
            with helper_errors():
                watch = Watch(self._process, limits)
                self._send(request, min(limits.idle_seconds, limits.wall_seconds))
                for answer in receive_line(self._socket):
                    if answer is not None:
                        return answer
                    if watch.has_ended:
                        break
                    watch.guard()
                    self._lower_priority(watch.cpu_seconds)
        except HelperGone as error:
            # One that has ended says more by its exit than by how talking to it failed.
            raise self._why_gone(error) from error
        except BaseException:
            self.close()
            raise
        raise self._why_gone(None)

    def _send(self, request: Mapping[str, Any], seconds: float) -> None:
        self._socket.settimeout(seconds if seconds < threading.TIMEOUT_MAX else None)
        self._socket.sendall(json.dumps(request).encode() + b"\n")

    def _lower_priority(self, cpu_seconds: float) -> None:
        if cpu_seconds > SHORT_SECONDS and not self._is_slowed:
            self._is_slowed = True
            # Only ever lower: without privileges a process cannot raise its priority again, so one that was
            # slowed is not fresh any more, and gets a successor.
            self._process.nice(max(NICE, self._process.nice()))

    def _why_gone(self, error: HelperGone | None) -> HelperGone:
        """Closes it, and returns the error to raise."""
        # `OverLimit` and its subclasses already say why it was ended; the exit code would only say SIGKILL.
        if error is None or type(error) is HelperGone:
            code = wait_for_exit(self._process)
            if error is None or code is not None:
                error = HelperGone(describe_exit(code))
        self.close()
        return error

    def kill(self) -> None:
        """May be called beside an exchange, which then raises `HelperGone`."""
        if self._leads_group:
            kill_group(self._process)
        else:
            with contextlib.suppress(psutil.Error):
                self._process.kill()

    def close(self) -> None:
        """Ends it at once; harmless when it has ended."""
        if self._is_closed:
            return
        self._is_closed = True
        self.kill()
        wait_for_exit(self._process)
        self._socket.close()


class CommandRunner:
    """Runs commands that read all of stdin, write to stdout and end. Safe for many threads."""

    def __init__(self, limits: Limits, environment: Mapping[str, str] | None = None) -> None:
        """`environment`: in addition to this process's."""
        self._limits = limits
        self._environment = environment
        self._lock = threading.Lock()
        self._running: set[psutil.Process] = set()
        self._is_stopped = False

    @property
    def is_idle(self) -> bool:
        return not self._running

    def run(self, command: Sequence[str], content: bytes) -> bytes:
        """What the command writes. Raises `HelperGone` where it fails, and `Stopped` after `stop`."""
        ours, theirs = socket.socketpair()
        # Files, because nothing need be written while something else is read.
        with ours, tempfile.TemporaryFile() as stdin, tempfile.TemporaryFile() as stderr:
            stdin.write(content)
            stdin.seek(0)
            # The child has its own copy of this end. Ours must be closed, or the other one would never see
            # the end of the stream.
            with theirs:
                process = self._start(command, stdin, theirs, stderr)
            try:
                answer, code = self._await_end(process, ours)
            finally:
                with self._lock:
                    self._running.discard(process)
                kill_group(process)
                wait_for_exit(process)
            if self._is_stopped:
                raise Stopped("was ended: this process is being stopped")
            if code != 0:
                error = HelperGone(describe_exit(code))
                error.stderr = _tail(stderr)
                raise error
        return answer

    def stop(self) -> None:
        """Ends what runs; nothing begins any more."""
        with self._lock:
            self._is_stopped = True
            for process in self._running:
                kill_group(process)

    def _start(
        self, command: Sequence[str], stdin: IO[bytes], stdout: socket.socket, stderr: IO[bytes]
    ) -> psutil.Process:
        with self._lock:
            if self._is_stopped:
                raise Stopped("did not start: this process is being stopped")
            process = start_preloaded(
                command,
                self._environment,
                stdin=stdin.fileno(),
                stdout=stdout.fileno(),
                stderr=stderr.fileno(),
                own_session=True,
            )
            self._running.add(process)
        return process

    def _await_end(
        self, process: psutil.Process, connection: socket.socket
    ) -> tuple[bytes, int | None]:
        """What it wrote, and its exit code; raises `OverLimit`."""
        answer = bytearray()
        with helper_errors():
            watch = Watch(process, self._limits)
            for received in _receive(connection):
                if received is not None:
                    answer += received
                elif watch.has_ended:
                    break
                else:
                    watch.guard()
            # It has closed its end, and may go on nevertheless.
            while True:
                try:
                    return bytes(answer), process.wait(POLL_SECONDS)
                except psutil.TimeoutExpired:
                    watch.guard()


def start_group(
    command: Sequence[str],
    environment: Mapping[str, str] | None = None,
    *,
    stdin: int,
    stdout: int | None = None,
    stderr: int | None = None,
    own_session: bool = False,
) -> psutil.Popen:
    """A process that leads a group of its own; its streams are descriptors, or this process's.

    `own_session`: it leads a session, too, whose weight it may then lower without its parent's (`runtime.process`).
    """
    return psutil.Popen(
        list(command),
        env={**os.environ, **(environment or {})},
        process_group=None if own_session else 0,
        start_new_session=own_session,
        stdin=stdin,
        stdout=stdout,
        stderr=stderr,
    )


def start_preloaded(
    command: Sequence[str],
    environment: Mapping[str, str] | None = None,
    *,
    stdin: int,
    stdout: int | None = None,
    stderr: int | None = None,
    own_session: bool = False,
) -> psutil.Popen | ForkedProcess:
    """As `start_group`, forked where a process has loaded what it needs (`preloaded.VARIABLE`): then it always leads
    a session, and ends with this process."""
    if place := preloaded.find_socket(command):
        streams = (stdin, 1 if stdout is None else stdout, 2 if stderr is None else stderr)
        seen = {**os.environ, **(environment or {})}
        # Where it has ended, the helper loads its libraries itself.
        with contextlib.suppress(OSError):
            return preloaded.fork(place, command[1:], seen, streams, folder=Path.cwd(), bound=True)
    return start_group(
        command, environment, stdin=stdin, stdout=stdout, stderr=stderr, own_session=own_session
    )


def receive_line(connection: socket.socket) -> Iterator[dict[str, Any] | None]:
    """The next line; before it, None again and again while nothing comes. Ends with the other side."""
    line = bytearray()
    for received in _receive(connection):
        if received is None:
            yield None
            continue
        line += received
        # The other side writes one line for each request, so nothing of a next line can have come with it.
        if line.endswith(b"\n"):
            answer: dict[str, Any] = json.loads(line)
            yield answer
            return


def _receive(connection: socket.socket) -> Iterator[bytes | None]:
    """What comes, as it comes; None again and again while nothing does. Ends with the other side."""
    connection.settimeout(POLL_SECONDS)
    while True:
        try:
            received = connection.recv(2**16)
        except TimeoutError:
            yield None
            continue
        if not received:
            return
        yield received


def _is_open(connection: socket.socket) -> bool:
    """Between two exchanges: a process has ended when its end is closed, also one that is still a zombie."""
    try:
        connection.setblocking(False)
        # A look that takes nothing away. There should be nothing to read between two exchanges: an empty
        # answer is the end of the stream, and no answer at all is a helper that waits.
        return bool(connection.recv(1, socket.MSG_PEEK))
    except BlockingIOError:
        return True
    except OSError:
        return False


def _tail(file: IO[bytes]) -> str:
    file.seek(0)
    return file.read().decode(errors="replace")[-LONGEST_STDERR:].strip()
