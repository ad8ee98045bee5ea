"""How a process ends when a signal asks it to: at the step it is at, also where Python loses the exception."""

import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType


class Termination:
    """From its creation on, each of these signals raises SystemExit(0) in the main thread.

    What a handler raises while a weak reference's callback or a finalizer runs goes no further: Python
    prints "Exception ignored in" and goes on. So every loop also calls `check`.
    """

    def __init__(self, *signals: signal.Signals) -> None:
        # A bool and no `threading.Event`: a handler may interrupt the thread that holds the event's lock.
        self.is_requested = False
        for number in signals:
            signal.signal(number, self._request)

    def check(self) -> None:
        """Raises SystemExit(0) if a signal has come."""
        if self.is_requested:
            raise SystemExit(0)

    def _request(self, number: int, frame: FrameType | None) -> None:
        self.is_requested = True
        raise SystemExit(0)


#: Of a caller that handles its signals itself.
NO_TERMINATION = Termination()


_at_end: set[Callable[[], object]] = set()


@contextmanager
def called_at_end(call: Callable[[], object]) -> Iterator[None]:
    """Streams that would go on for ever: uvicorn waits for them. `call` must return at once."""
    _at_end.add(call)
    try:
        yield
    finally:
        _at_end.discard(call)


def call_at_end() -> None:
    """By whoever handles the signal that asks the process to end."""
    for call in list(_at_end):
        call()
