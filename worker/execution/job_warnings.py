"""A job's own log also gets the warnings that its process logs."""

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager


class _ForwardWarnings(logging.Handler):
    """Hands warnings and worse to a job's log."""

    def __init__(self, say: Callable[[str, str], None]) -> None:
        super().__init__(logging.WARNING)
        self._say = say

    def emit(self, record: logging.LogRecord) -> None:
        self._say(record.levelname.lower(), _message(record))


@contextmanager
def forwarded_warnings(say: Callable[[str, str], None]) -> Iterator[None]:
    """While open, every warning or error that this process logs is also given to `say(level, text)`."""
    handler = _ForwardWarnings(say)
    root = logging.getLogger()
    root.addHandler(handler)
    try:
        yield
    finally:
        root.removeHandler(handler)


def _message(record: logging.LogRecord) -> str:
    """The sentence of a structured record, or the message of any other."""
    if isinstance(record.msg, dict):
        return str(record.msg.get("event", ""))
    return record.getMessage().strip()
