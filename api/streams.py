"""Streams of events that wait for changes: all of an event loop's are woken by one call of the thread that listens.

A call for each stream would hand Python's lock to the event loop and wait for it again, hundreds of times a change.
"""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager, suppress


class Streams:
    """Of all event loops in this process; `wake` may be called by any thread."""

    def __init__(self) -> None:
        self._waiting: dict[asyncio.AbstractEventLoop, set[asyncio.Event]] = {}

    @contextmanager
    def woken(self) -> Iterator[asyncio.Event]:
        """For the running stream: an event that is set after each change."""
        loop, changed = asyncio.get_running_loop(), asyncio.Event()
        self._waiting.setdefault(loop, set()).add(changed)
        try:
            yield changed
        finally:
            self._waiting[loop].discard(changed)
            if not self._waiting[loop]:
                del self._waiting[loop]

    def wake(self) -> None:
        for loop in list(self._waiting):
            # One that has been closed has no streams that wait.
            with suppress(RuntimeError):
                loop.call_soon_threadsafe(self._set, loop)

    def _set(self, loop: asyncio.AbstractEventLoop) -> None:
        for changed in self._waiting.get(loop, ()):
            changed.set()
