"""The other side of `runtime.preload`: processes forked by one that has imported what they need."""

import json
import os
import select
import socket
import struct
import sys
import threading
import weakref
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import psutil

from runtime.supervision import can_watch_processes

#: For those that start helpers: a JSON object of modules, and for each the socket of a process that has loaded what
#: it needs, and forks it.
VARIABLE = "NORMLAB_PRELOADED"
#: Of a process whose exit status is known to nobody: what forked it has ended.
UNKNOWN = 255
#: Arguments that only make room for those of forked processes.
ROOM = "." * 1024
_ANSWER_SECONDS = 120.0
_CODE_SECONDS = 5.0


class ForkedProcess(psutil.Process):
    """No child of this process, but waited for as if it were. Safe for many threads."""

    def __init__(self, pid: int, connection: socket.socket) -> None:
        super().__init__(pid)
        self._connection = connection
        self._descriptor = os.pidfd_open(pid)
        self._code: int | None = None
        self._lock = threading.Lock()
        # Not with its end: another thread may wait for it at this number.
        weakref.finalize(self, os.close, self._descriptor)
        weakref.finalize(self, connection.close)

    def poll(self) -> int | None:
        """Its exit status, negative for a signal; None while it runs."""
        with self._lock:
            if self._code is None and _is_readable(self._descriptor, 0):
                self._code = self._read_code()
        return self._code

    def wait(self, timeout: float | None = None) -> int:
        """Its exit status; raises psutil.TimeoutExpired."""
        if self._code is None and not _is_readable(self._descriptor, timeout):
            raise psutil.TimeoutExpired(timeout or 0.0, self.pid)
        code = self.poll()
        assert code is not None
        return code

    def close(self) -> None:
        """Kills one that is bound to this process."""
        self._connection.close()

    def _read_code(self) -> int:
        self._connection.settimeout(_CODE_SECONDS)
        code = UNKNOWN
        with suppress(OSError, ValueError):
            code = int(json.loads(self._connection.recv(4096))["code"])
        self._connection.close()
        return code


class Question:
    """Whether a `runtime.preload` has imported its modules."""

    def __init__(self, path: Path) -> None:
        self._connection = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._connection.connect(str(path))
        check_peer(self._connection)
        self._connection.send(json.dumps({"arguments": []}).encode())
        self._connection.setblocking(False)
        self._is_answered = False

    @property
    def is_answered(self) -> bool:
        """Also True once it has ended: nobody need wait for it."""
        if not self._is_answered:
            with suppress(BlockingIOError):
                with suppress(ConnectionError):
                    self._connection.recv(4096)
                self._is_answered = True
                self._connection.close()
        return self._is_answered


def make_room(environment: Mapping[str, str]) -> dict[str, str]:
    """The environment of a process that forks others, with room for theirs."""
    return {**environment, "NORMLAB_ROOM": "." * 8192}


def listen(path: Path) -> socket.socket:
    """The socket that a `runtime.preload` gets as its standard input."""
    path.unlink(missing_ok=True)
    listening = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    listening.bind(str(path))
    listening.listen(64)
    return listening


def fork(
    path: str | Path,
    arguments: Sequence[str],
    environment: Mapping[str, str],
    streams: tuple[int, int, int],
    *,
    folder: str | Path = "/",
    bound: bool = False,
) -> ForkedProcess:
    """Runs `python ARGUMENTS` (`-m MODULE ...`) in a session of its own; raises OSError where that can't be done.

    `streams`: of standard input, output and errors. One that is `bound` ends with this process.
    """
    request = {
        "arguments": list(arguments),
        "environment": dict(environment),
        "folder": str(folder),
        "nice": os.getpriority(os.PRIO_PROCESS, 0),
        "bound": bound,
    }
    connection = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    try:
        # It may still be importing.
        connection.settimeout(_ANSWER_SECONDS)
        connection.connect(str(path))
        # The environment that follows may hold passwords.
        check_peer(connection)
        socket.send_fds(connection, [json.dumps(request).encode()], list(streams))
        answer: dict[str, Any] = json.loads(connection.recv(4096) or b"{}")
        if "pid" not in answer:
            raise OSError(answer.get("error", "the process that forks others has ended"))
        return ForkedProcess(answer["pid"], connection)
    except (psutil.Error, ValueError) as error:
        connection.close()
        raise OSError(str(error)) from error
    except BaseException:
        connection.close()
        raise


def find_socket(command: Sequence[str]) -> str | None:
    """Where a process listens that forks this command, `python -m MODULE ...`; None where none does."""
    if list(command[:2]) != [sys.executable, "-m"]:
        return None
    sockets: dict[str, str] = json.loads(os.environ.get(VARIABLE) or "{}")
    return sockets.get(command[2])


def check_peer(connection: socket.socket) -> None:
    """Raises PermissionError where the other side belongs to another user.

    The folder of the sockets is the database's account's, which must not run anything as us.
    """
    size = struct.calcsize("3i")
    _, uid, _ = struct.unpack(
        "3i", connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, size)
    )
    if uid != os.geteuid():
        raise PermissionError(f"the other side of the connection is user {uid}, not {os.geteuid()}")


def is_possible() -> bool:
    """On Linux only."""
    return sys.platform == "linux" and can_watch_processes()


def _is_readable(descriptor: int, seconds: float | None) -> bool:
    poll = select.poll()
    poll.register(descriptor, select.POLLIN)
    return bool(poll.poll(None if seconds is None else seconds * 1000))
