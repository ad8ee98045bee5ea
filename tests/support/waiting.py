"""How tests wait for what another process does, and ports for its servers."""

import socket
import time
from collections.abc import Callable
from typing import TypeVar

#: Far longer than anything takes: a busy machine is no reason to fail.
PATIENCE_SECONDS = 400.0

T = TypeVar("T")


def wait_for(
    look: Callable[[], T],
    what: str | Callable[[], str] = "the condition",
    seconds: float = PATIENCE_SECONDS,
    pause: float = 0.05,
) -> T:
    """The first true answer of `look`; fails where there is none in time, naming `what` it waited for."""
    deadline = time.monotonic() + seconds
    while not (answer := look()):
        if time.monotonic() > deadline:
            reason = what if isinstance(what, str) else what()
            raise AssertionError(f"after {seconds:g} s it is not so: {reason}")
        time.sleep(pause)
    return answer


def free_port() -> int:
    """Of this machine, free a moment ago; several calls give several ports."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
