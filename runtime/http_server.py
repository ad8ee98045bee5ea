"""`python -m runtime.http_server APP OPTIONS`: uvicorn's command, with a server that sleeps while it is idle, and drops
clients that keep it waiting.

uvicorn's own wakes ten times a second to see whether it should end; this one is told, and wakes once a second
for the date in its answers.
"""

import asyncio
import sys
from types import FrameType
from typing import Any

import uvicorn
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol

from runtime.process import call_at_end

#: uvicorn's count of turns in a second: at each tenth it renews the date.
_TURNS = 10
#: For the line and the headers of a request, and for each pause in its body.
PATIENCE_SECONDS = 20.0
#: For how long an idle connection is kept: longer than clients keep theirs (httpx: 5 s, uvicorn's own default), because
#: a request that is sent just as the server closes its connection fails.
KEEP_ALIVE_SECONDS = 20
#: A body that comes more slowly on the whole is cut off.
SLOWEST_BYTES_PER_SECOND = 16 * 1024
#: After so long a client must have taken some of an answer that is ready.
READ_SECONDS = 60.0
SLOWEST_READ_BYTES_PER_SECOND = 1024
#: Of a request's line and headers, beyond what comes at once.
MOST_HEAD_BYTES = 64 * 1024


class PatientProtocol(HttpToolsProtocol):
    """A connection that is closed when its client makes the server wait: with a request that trickles or never comes,
    or with an answer that it doesn't take."""

    _waits_since: float | None = None
    _timer: asyncio.TimerHandle | None = None
    _unread_timer: asyncio.TimerHandle | None = None
    _is_in_head = False
    _head_bytes = 0
    _body_bytes = 0

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._wait()

    def connection_lost(self, exc: Exception | None) -> None:
        for timer in (self._timer, self._unread_timer):
            if timer is not None:
                timer.cancel()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        begun = self.headers if self._is_in_head else None
        super().data_received(data)
        # Counted here: the parser gives a header only when it has the whole of it.
        if begun is not None and self._is_in_head and self.headers is begun:
            self._head_bytes += len(data)
            if self._head_bytes > MOST_HEAD_BYTES:
                self._refuse(431, f"more than {MOST_HEAD_BYTES} bytes of headers")

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self._is_in_head, self._head_bytes, self._body_bytes = True, 0, 0
        self._wait()

    def on_headers_complete(self) -> None:
        self._is_in_head = False
        super().on_headers_complete()

    def on_body(self, body: bytes) -> None:
        self._body_bytes += len(body)
        super().on_body(body)

    def on_message_complete(self) -> None:
        # The timer is left to find nothing: most requests come whole, and one for each would cost more.
        self._waits_since = None
        super().on_message_complete()

    def pause_writing(self) -> None:
        super().pause_writing()
        self._await_reading()

    def resume_writing(self) -> None:
        if self._unread_timer is not None:
            self._unread_timer.cancel()
        super().resume_writing()

    def _wait(self) -> None:
        """For the client, from now on."""
        self._waits_since = self.loop.time()
        if self._timer is None:
            self._timer = self.loop.call_later(PATIENCE_SECONDS, self._look)

    def _look(self) -> None:
        self._timer = None
        if self._waits_since is None or self.transport.is_closing():
            return
        if self.flow.read_paused:
            # It is the application that takes its time.
            self._waits_since = self.loop.time()
        patience = PATIENCE_SECONDS + self._body_bytes / SLOWEST_BYTES_PER_SECOND
        left = self._waits_since + patience - self.loop.time()
        if left > 0:
            self._timer = self.loop.call_later(left, self._look)
        else:
            self._refuse(408, "the request came too slowly")

    def _refuse(self, status: int, why: str) -> None:
        """Says so, unless an answer has begun or nothing was asked, and closes the connection."""
        cycle = self.cycle
        if self._is_in_head:
            may_answer = cycle is None or cycle.response_complete
        else:
            may_answer = cycle is not None and not cycle.response_started and not self.pipeline
        if may_answer:
            head = STATUS_LINE[status] + b"content-type: text/plain\r\nconnection: close\r\n"
            length = b"content-length: %d\r\n\r\n" % len(why)
            self.transport.write(head + length + why.encode())
        self.transport.close()

    def _await_reading(self) -> None:
        unread = self.transport.get_write_buffer_size()
        self._unread_timer = self.loop.call_later(READ_SECONDS, self._look_at_reading, unread)

    def _look_at_reading(self, before: int) -> None:
        taken = before - self.transport.get_write_buffer_size()
        if taken < READ_SECONDS * SLOWEST_READ_BYTES_PER_SECOND:
            self.transport.abort()
        else:
            self._await_reading()


class QuietServer(uvicorn.Server):
    """Ends as soon as a signal asks it to."""

    _ends: asyncio.Event | None = None
    _loop: asyncio.AbstractEventLoop | None = None

    def __init__(self, config: uvicorn.Config) -> None:
        if config.http == "auto":
            config.http = PatientProtocol
        config.timeout_keep_alive = max(config.timeout_keep_alive, KEEP_ALIVE_SECONDS)
        super().__init__(config)

    async def main_loop(self) -> None:
        """Until it should end."""
        self._ends, self._loop = asyncio.Event(), asyncio.get_running_loop()
        while not await self.on_tick(_TURNS):
            try:
                await asyncio.wait_for(self._ends.wait(), 1.0)
            except TimeoutError:
                continue

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        super().handle_exit(sig, frame)
        if self._ends is not None and self._loop is not None:
            self._loop.call_soon_threadsafe(self._ends.set)
        call_at_end()


def main(options: list[str]) -> None:
    # The function of this name hides the module in the package.
    module: Any = sys.modules[uvicorn.main.callback.__module__]
    module.Server = QuietServer
    uvicorn.main(options, prog_name="uvicorn")


if __name__ == "__main__":
    main(sys.argv[1:])
