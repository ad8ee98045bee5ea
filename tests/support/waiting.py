"""How tests wait for what another process does, and ports for its servers."""

import socket
import time
from collections.abc import Callable
from typing import TypeVar

#: Far longer than anything takes: a busy machine is no reason to fail.
PATIENCE_SECONDS = 400.0
#: The pause between two looks grows up to this: who waits for long must not keep the cores busy with
#: asking, least of all on the machine that does what is waited for.
LONGEST_PAUSE_SECONDS = 0.5
_GROWTH = 1.2

T = TypeVar("T")


def wait_for(
    look: Callable[[], T],
    what: str | Callable[[], str] = "the condition",
    seconds: float = PATIENCE_SECONDS,
    pause: float = 0.05,
    longest_pause: float = LONGEST_PAUSE_SECONDS,
) -> T:
    """The first true answer of `look`; fails where there is none in time, naming `what` it waited for.

    `pause` is the first one, in seconds; where what is waited for passes soon, the `longest_pause` is short too.
    """
    deadline = time.monotonic() + seconds
    while not (answer := look()):
        if time.monotonic() > deadline:
            reason = what if isinstance(what, str) else what()
            raise AssertionError(f"after {seconds:g} s it is not so: {reason}")
        time.sleep(pause)
        pause = max(pause, min(pause * _GROWTH, longest_pause))
    return answer


def free_port() -> int:
    """Of this machine, free a moment ago; several calls give several ports."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
