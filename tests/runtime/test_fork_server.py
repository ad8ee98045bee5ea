"""Helpers that are forked: each on a socket of its own, and none outlives its server."""

import json
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing, contextmanager

SERVER = """
import os, time
from runtime.fork_server import serve_forks

def serve(questions, answers):
    for line in questions:
        print("for the log")
        if line == b"sleep\\n":
            time.sleep(600)
        if line == b"fail\\n":
            raise RuntimeError
        print(os.getpid(), line.decode().strip(), file=answers, flush=True)

serve_forks(serve)
"""


@contextmanager
def running(*command: str) -> Iterator[socket.socket]:
    """The control socket of a server that is ready."""
    ours, theirs = socket.socketpair()
    ours.settimeout(60)
    process = subprocess.Popen([sys.executable, *command], stdin=theirs, stderr=subprocess.DEVNULL)
    with ours:
        theirs.close()
        assert read_line(ours) == {"ready": True}
        yield ours
    assert process.wait(60) == 0


def fork(control: socket.socket) -> tuple[int, socket.socket]:
    """The helper's process number and its socket."""
    ours, theirs = socket.socketpair()
    ours.settimeout(60)
    with theirs:
        socket.send_fds(control, [b"f"], [theirs.fileno()])
    return read_line(control)["pid"], ours


def read_line(connection: socket.socket):
    with connection.makefile("r") as lines:
        return json.loads(lines.readline())


def test_each_helper_answers_on_its_own_socket():
    with running("-c", SERVER) as control:
        helpers = [fork(control) for _ in range(2)]
        for number, (_, connection) in enumerate(helpers):
            connection.sendall(f"question {number}\n".encode())
        for number, (pid, connection) in enumerate(helpers):
            with closing(connection), connection.makefile("r") as lines:
                assert lines.readline() == f"{pid} question {number}\n"


def test_a_helper_that_fails_ends_alone():
    with running("-c", SERVER) as control:
        _, connection = fork(control)
        with connection:
            connection.sendall(b"fail\n")
            assert connection.recv(1) == b""
        pid, connection = fork(control)
        with connection, connection.makefile("r") as lines:
            connection.sendall(b"hello\n")
            assert lines.readline() == f"{pid} hello\n"


def test_a_helper_ends_with_its_server_whatever_it_does():
    with running("-c", SERVER) as control:
        _, connection = fork(control)
        connection.sendall(b"sleep\n")
    with connection:
        assert connection.recv(1) == b""
