"""The server that sleeps while nobody asks: it ends when it is told to, and renews its date."""

import asyncio
import signal
import socket
from contextlib import nullcontext

import uvicorn

from runtime.http_server import QuietServer


async def app(scope: object, receive: object, send: object) -> None:
    raise AssertionError("nobody asks")


def test_a_signal_ends_it_within_one_turn() -> None:
    turns = 0

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
        server.run(sockets=[listening])
    assert turns == 2
    assert b"date" in dict(server.server_state.default_headers)
