"""The server that sleeps while nobody asks: it ends when it is told to, renews its date, and drops clients that keep it
waiting."""

import asyncio
import signal
import socket
import threading
import time
from collections.abc import Awaitable, Iterator
from contextlib import nullcontext, suppress
from typing import Any

import httpx
import pytest
import uvicorn

from runtime import http_server
from runtime.http_server import QuietServer
from tests.support.waiting import wait_for


async def app(scope: object, receive: object, send: object) -> None:
    raise AssertionError("nobody asks")


def test_a_signal_ends_it_within_one_turn(monkeypatch: pytest.MonkeyPatch) -> None:
    turns = 0
    wait_for = asyncio.wait_for

    async def wait_long(awaitable: Awaitable[object], timeout: float | None) -> object:
        # A turn that only time ends takes minutes.
        return await wait_for(awaitable, timeout and 120 * timeout)

    monkeypatch.setattr(asyncio, "wait_for", wait_long)

    class Counting(QuietServer):
        async def on_tick(self, counter: int) -> bool:
            nonlocal turns
            turns += 1
            if turns == 1:
                asyncio.get_running_loop().call_later(0.05, self.handle_exit, signal.SIGTERM, None)
            return await super().on_tick(counter)

    server = Counting(uvicorn.Config(app, lifespan="off", log_level="warning"))
    # What is captured is raised again when it has ended; nobody is to be ended here.
    server.capture_signals = nullcontext  # type: ignore[method-assign, assignment]
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        began = time.monotonic()
        server.run(sockets=[listening])
        assert time.monotonic() - began < 60
    assert turns == 2
    assert b"date" in dict(server.server_state.default_headers)


PATIENCE = 0.3


async def echo(scope: Any, receive: Any, send: Any) -> None:
    """Answers with the length of the body; `/large` sends more than any buffer holds."""
    length, more = 0, True
    while more:
        message = await receive()
        if message["type"] == "http.disconnect":
            return
        length += len(message.get("body", b""))
        more = message.get("more_body", False)
    body = b"x" * 2**26 if scope["path"] == "/large" else str(length).encode()
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": body[: 2**25], "more_body": True})
    await send({"type": "http.response.body", "body": body[2**25 :]})


@pytest.fixture
def port(monkeypatch: pytest.MonkeyPatch) -> Iterator[int]:
    """Where a server listens that has little patience."""
    monkeypatch.setattr(http_server, "PATIENCE_SECONDS", PATIENCE)
    monkeypatch.setattr(http_server, "READ_SECONDS", PATIENCE)
    server = QuietServer(uvicorn.Config(echo, lifespan="off", log_level="critical", port=0))
    server.capture_signals = nullcontext  # type: ignore[method-assign, assignment]
    thread = threading.Thread(target=server.run)
    thread.start()
    wait_for(lambda: server.started, "the server listens")
    [listening] = server.servers
    yield listening.sockets[0].getsockname()[1]
    server.handle_exit(signal.SIGTERM, None)
    thread.join()


def exchange(port: int, *parts: bytes, pause: float = 0.0) -> bytes:
    """All that the server sends until it closes the connection."""
    with socket.create_connection(("127.0.0.1", port), timeout=120) as connection:
        with suppress(OSError):
            for part in parts:
                connection.sendall(part)
                time.sleep(pause)
        answer = b""
        with suppress(ConnectionError):
            while part := connection.recv(2**16):
                answer += part
        return answer


POST = b"POST / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n"


def test_who_asks_nothing_is_let_go(port: int) -> None:
    assert exchange(port) == b""


@pytest.mark.parametrize(
    "head", [b"GET / HTTP/1.1\r\nHost: x\r\n", POST + b"Content-Length: 9\r\n\r\nabc"]
)
def test_a_request_that_stops_in_its_middle_is_answered_408(port: int, head: bytes) -> None:
    assert exchange(port, head).startswith(b"HTTP/1.1 408 ")


def test_headers_that_trickle_get_no_more_time(port: int) -> None:
    lines = [b"X-%d: y\r\n" % number for number in range(1000)]
    answer = exchange(port, b"GET / HTTP/1.1\r\n", *lines, pause=PATIENCE / 10)
    assert answer.startswith(b"HTTP/1.1 408 ")


def test_a_slow_body_that_comes_fast_enough_is_taken(
    port: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    chunk = b"x" * 2**15
    # Each is worth half a minute, and the pauses together are longer than a silent client is waited for.
    monkeypatch.setattr(http_server, "SLOWEST_BYTES_PER_SECOND", 2**10)
    head = POST + b"Content-Length: %d\r\n\r\n" % (5 * len(chunk))
    answer = exchange(port, head + chunk, *[chunk] * 4, pause=PATIENCE)
    assert answer.endswith(b"163840\r\n0\r\n\r\n")


def test_endless_headers_are_refused(port: int) -> None:
    lines = [b"X-%d: %s\r\n" % (number, b"y" * 1000) for number in range(2000)]
    with socket.create_connection(("127.0.0.1", port), timeout=120) as connection:
        connection.sendall(b"GET / HTTP/1.1\r\n")
        answer = b""
        with suppress(ConnectionError):
            for line in lines:
                connection.sendall(line)
            while part := connection.recv(2**16):
                answer += part
    # Where our bytes lie unread, the system may drop the answer with the connection.
    assert answer.startswith(b"HTTP/1.1 431 ") or not answer


def test_an_answer_that_nobody_takes_is_given_up(port: int) -> None:
    with socket.create_connection(("127.0.0.1", port), timeout=120) as connection:
        connection.sendall(b"GET /large HTTP/1.1\r\nHost: x\r\n\r\n")
        time.sleep(4 * PATIENCE)
        taken = 0
        with suppress(ConnectionError):
            while part := connection.recv(2**20):
                taken += len(part)
        assert taken < 2**26


def test_an_idle_connection_is_kept_for_longer_than_by_clients() -> None:
    """Closed by the server just when a client sends a request, it would fail that request."""
    kept = httpx.Limits().keepalive_expiry
    assert kept is not None
    server = QuietServer(uvicorn.Config("api.app:make_app", factory=True))
    assert server.config.timeout_keep_alive > 2 * kept
