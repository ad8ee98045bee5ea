"""A process that has loaded its libraries once and forks helpers that are ready at once.

Standard input is a socket. Each byte on it comes with the socket of a new helper and is answered with a JSON
line: {pid}, or {error}. The first line, {ready}, says that the libraries are loaded. When the other side ends,
so do this process and its helpers.
"""

import gc
import json
import logging
import os
import signal
import socket
import warnings
from collections.abc import Callable
from typing import IO, Any, NoReturn

from runtime.process import end_with_parent

log = logging.getLogger(__name__)

Serve = Callable[[IO[bytes], IO[str]], None]


def serve_forks(serve: Serve) -> None:
    """Forks a helper for each socket received; it calls `serve` with the lines that it reads and writes.

    The caller must have one thread only, and must not have computed anything in parallel: a fork copies
    locks, and not the threads that would release them.
    """
    control = _take_standard_input()
    # Nobody asks how a helper ended, so the kernel need not keep it as a zombie.
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    # What is loaded stays. A collection in a helper would otherwise write to, and so copy, all of its pages.
    gc.collect()
    gc.freeze()
    _say(control, {"ready": True})
    while True:
        message, sockets, *_ = socket.recv_fds(control, 1, 1)
        if not message:
            return
        with socket.socket(fileno=sockets[0]) as connection:
            _say(control, _try_to_fork(control, connection, serve))


def _try_to_fork(control: socket.socket, connection: socket.socket, serve: Serve) -> dict[str, Any]:
    try:
        return {"pid": _fork(control, connection, serve)}
    except OSError as error:
        return {"error": str(error)}


def _fork(control: socket.socket, connection: socket.socket, serve: Serve) -> int:
    server = os.getpid()
    with warnings.catch_warnings():
        # A library's allocator keeps a thread of its own, and prepares itself for forks.
        warnings.simplefilter("ignore", DeprecationWarning)
        pid = os.fork()
    if pid == 0:
        control.close()
        _run(connection, serve, server)
    return pid


def _run(connection: socket.socket, serve: Serve, server: int) -> NoReturn:
    """The life of a helper. It never returns into the server's own loop."""
    try:
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        # It may be in the middle of something long when the server ends.
        end_with_parent()
        if os.getppid() != server:
            os._exit(0)
        with connection.makefile("rb") as questions, connection.makefile("w") as answers:
            serve(questions, answers)
    except BrokenPipeError:  # the other side no longer waits for the answer
        pass
    except BaseException:
        log.exception("a helper ended")
    finally:
        os._exit(0)


def _take_standard_input() -> socket.socket:
    """The socket that it is. Afterwards nothing is read from standard input by accident, and what a library
    prints goes to the log."""
    control = socket.socket(fileno=os.dup(0))
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, 0)
    os.close(nothing)
    os.dup2(2, 1)
    return control


def _say(control: socket.socket, document: dict[str, Any]) -> None:
    control.sendall(json.dumps(document).encode() + b"\n")
