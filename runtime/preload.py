"""`python -m runtime.preload MODULE ...`: a process that has imported modules and forks others, which need not.

Standard input is a listening socket (`SOCK_SEQPACKET`). Whoever connects sends one JSON message, {arguments,
environment, folder, nice, bound}, with the descriptors of the new process's standard streams. The answers are
{pid}, or {error}, and {code} when it has ended; without arguments, {ready}. One that is `bound` is killed with its
group when the other side goes away. `runtime.preloaded` is that side.
"""

import ctypes
import gc
import importlib
import json
import logging
import os
import runpy
import select
import signal
import socket
import sys
import threading
import warnings
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, NoReturn

from runtime.preloaded import ROOM, check_peer
from runtime.process import weigh_session

log = logging.getLogger(__name__)

LONGEST_REQUEST = 2**17
_STREAMS = 3
#: Whoever connects sends its request at once; all others wait for it.
_REQUEST_SECONDS = 5.0
#: Fields of /proc/PID/stat after the name of the program: where arguments and environment lie.
_ARGUMENTS, _ENVIRONMENT = slice(45, 47), slice(47, 49)


class Preload:
    """The processes that it has forked, by their connections."""

    def __init__(self, listening: socket.socket, set_by_modules: Mapping[str, str]) -> None:
        """`set_by_modules`: what modules have added to the environment while they were imported."""
        self._listening = listening
        self._set_by_modules = set_by_modules
        self._connections: dict[int, socket.socket] = {}
        self._bound: set[int] = set()
        self._signals, self._signalled = socket.socketpair()

    def serve(self) -> NoReturn:
        """Until it is killed. One thread: a fork copies locks, and not the threads that would release them."""
        self._signals.setblocking(False)
        self._signalled.setblocking(False)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        signal.set_wakeup_fd(self._signalled.fileno())
        while True:
            bound = [self._connections[pid] for pid in self._bound]
            ready, _, _ = select.select([self._listening, self._signals, *bound], (), ())
            if self._signals in ready:
                with suppress(BlockingIOError):
                    self._signals.recv(4096)
            self._reap()
            for pid in [pid for pid in self._bound if self._connections[pid] in ready]:
                self._let_go(pid)
            if self._listening in ready:
                self._accept()

    def _accept(self) -> None:
        connection, _ = self._listening.accept()
        streams: list[int] = []
        try:
            check_peer(connection)
            connection.settimeout(_REQUEST_SECONDS)
            message, streams, *_ = socket.recv_fds(connection, LONGEST_REQUEST, _STREAMS)
            connection.settimeout(None)
            request = json.loads(message)
            if not request["arguments"]:
                _say(connection, {"ready": True})
                connection.close()
                return
            _check_waiting(connection)
            pid = self._fork(connection, request, streams)
        except (OSError, ValueError) as error:
            _say(connection, {"error": str(error)})
            connection.close()
            return
        finally:
            for stream in streams:
                os.close(stream)
        self._connections[pid] = connection
        if request["bound"]:
            self._bound.add(pid)
        _say(connection, {"pid": pid})

    def _fork(self, connection: socket.socket, request: dict[str, Any], streams: list[int]) -> int:
        with warnings.catch_warnings():
            # A library's allocator keeps a thread of its own, and prepares itself for forks.
            warnings.simplefilter("ignore", DeprecationWarning)
            pid = os.fork()
        if pid == 0:
            connection.close()
            self._run(request, streams)
        return pid

    def _run(self, request: dict[str, Any], streams: list[int]) -> NoReturn:
        """The life of a forked process. It never returns into the loop of this one."""
        code = 1
        try:
            for part in (self._listening, self._signals, self._signalled):
                part.close()
            for connection in self._connections.values():
                connection.close()
            request["environment"] = {**self._set_by_modules, **request["environment"]}
            _become(request, streams)
            code = _run_module(request["arguments"])
        except BaseException:
            log.exception("a process ended")
        finally:
            with suppress(Exception):
                sys.stdout.flush()
                sys.stderr.flush()
            os._exit(code)

    def _reap(self) -> None:
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return
            if pid == 0:
                return
            self._bound.discard(pid)
            if connection := self._connections.pop(pid, None):
                _say(connection, {"code": os.waitstatus_to_exitcode(status)})
                connection.close()

    def _let_go(self, pid: int) -> None:
        """The other side has gone: nobody else would end its process."""
        self._bound.discard(pid)
        try:
            os.killpg(pid, signal.SIGKILL)
        except ProcessLookupError:
            # It leads no group yet. It was not waited for, so its number is its own.
            os.kill(pid, signal.SIGKILL)


def _check_waiting(connection: socket.socket) -> None:
    """Raises ConnectionError where the other side has given up: it starts the process itself."""
    with suppress(BlockingIOError):
        connection.recv(1, socket.MSG_PEEK | socket.MSG_DONTWAIT)
        raise ConnectionAbortedError("the other side has given up")


def _become(request: dict[str, Any], streams: list[int]) -> None:
    signal.set_wakeup_fd(-1)
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    os.setsid()
    for number, stream in enumerate(streams):
        os.dup2(stream, number)
        os.close(stream)
    os.chdir(request["folder"])
    environment: dict[str, str] = request["environment"]
    os.environ.clear()
    os.environ.update(environment)
    if request["nice"]:
        os.setpriority(os.PRIO_PROCESS, 0, request["nice"])
        weigh_session(request["nice"])
    set_title([sys.executable, *request["arguments"]], environment)


def _run_module(arguments: list[str]) -> int:
    """As `python -m` does; returns the exit status."""
    _, name, *rest = arguments
    sys.argv = [name, *rest]
    # What was imported to be shared is run anew: its module is `__main__` now.
    for loaded in (name, f"{name}.__main__"):
        if not hasattr(sys.modules.get(loaded), "__path__"):
            sys.modules.pop(loaded, None)
    try:
        runpy.run_module(name, run_name="__main__", alter_sys=True)
    except SystemExit as error:
        return _status(error.code)
    finally:
        threading._shutdown()  # type: ignore[attr-defined]
        _run_exit_handlers()
    return 0


def _status(code: Any) -> int:
    if code is None or isinstance(code, int):
        return code or 0
    sys.stderr.write(f"{code}\n")
    return 1


def _run_exit_handlers() -> None:
    import atexit

    atexit._run_exitfuncs()


def _say(connection: socket.socket, document: dict[str, Any]) -> None:
    # The other side may have gone.
    with suppress(OSError):
        connection.send(json.dumps(document).encode())


def set_title(arguments: Sequence[str], environment: Mapping[str, str]) -> None:
    """What others see of this process: the command line and environment of what it runs, not of what forked it.

    Writes both over those that this process began with, as far as there is room: see `preloaded.make_room`.
    The process itself must not read the originals any more: `os.environ` was cleared and set anew.
    """
    set_arguments(arguments)
    begin, end = _place(_ENVIRONMENT)
    lines = b"".join(os.fsencode(f"{name}={value}\0") for name, value in environment.items())
    _write(begin, end, lines, last=b"\0")


def set_arguments(arguments: Sequence[str]) -> None:
    """Of the two, only the command line."""
    begin, end = _place(_ARGUMENTS)
    _write(begin, end, os.fsencode(" ".join(arguments)), last=b".")


def _place(field: slice) -> tuple[int, int]:
    fields = Path("/proc/self/stat").read_text().rpartition(")")[2].split()
    begin, end = (int(number) for number in fields[field])
    return begin, end


def _write(begin: int, end: int, content: bytes, *, last: bytes) -> None:
    # Some kernels, such as gVisor's, don't say where they lie.
    if end - begin < 2:
        return
    # The kernel takes arguments that don't end with a zero for one text, up to the first zero.
    room = end - begin - 2
    ctypes.memset(begin, 0, end - begin)
    ctypes.memmove(begin, content[:room], min(room, len(content)))
    ctypes.memmove(end - 1, last, 1)


def main(modules: list[str]) -> None:
    """Each is a module, or `module:function` for one whose function loads more."""
    logging.basicConfig(stream=sys.stderr)
    # Without those that only make room.
    set_arguments([sys.executable, "-m", "runtime.preload", *modules])
    listening = socket.socket(fileno=os.dup(0))
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    before = dict(os.environ)
    for name in modules:
        module, _, function = name.partition(":")
        loaded = importlib.import_module(module)
        if function:
            getattr(loaded, function)()
    if threading.active_count() > 1:
        sys.exit(f"one of {modules} has started a thread: nothing can be forked")
    # What is loaded stays. A collection in a fork would otherwise write to, and so copy, all of its pages.
    gc.collect()
    with suppress(OSError, AttributeError):
        ctypes.CDLL(None).malloc_trim(0)
    gc.freeze()
    added = {name: value for name, value in os.environ.items() if name not in before}
    Preload(listening, added).serve()


if __name__ == "__main__":
    main([name for name in sys.argv[1:] if name != ROOM])
