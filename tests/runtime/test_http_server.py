"""The server that sleeps while nobody asks: it ends when it is told to, and renews its date."""

import asyncio
import signal
import socket
import time
from collections.abc import Awaitable
from contextlib import nullcontext

import pytest
import uvicorn

from runtime.http_server import QuietServer


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
