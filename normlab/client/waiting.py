"""Waiting for a service that is away or busy."""

import time
from collections.abc import Callable, Mapping
from typing import TypeVar

from normlab.errors import NotReachable

#: Between two lines about the same wait, where nothing is redrawn.
LINE_SECONDS = 10.0
#: A restart of the API is no reason to give up a wait of hours.
OUTAGE_SECONDS = 120.0
_LONGEST_RETRY_AFTER = 10.0

T = TypeVar("T")


def outlast_outage(read: Callable[[], T], deadline: float | None = None) -> T:
    """What `read` returns once the service can be reached; raises NotReachable after a long outage, or after the
    deadline (of `time.monotonic`)."""
    # Counted from the first attempt: a read that hangs until its timeout is part of the outage.
    give_up = min(time.monotonic() + OUTAGE_SECONDS, deadline or float("inf"))
    while True:
        try:
            return read()
        except NotReachable:
            if time.monotonic() > give_up:
                raise
            time.sleep(1.0)


def retry_after(headers: Mapping[str, str], pause: float) -> float:
    """The seconds that the service asks for, within reason; `pause` where it doesn't."""
    text = headers.get("Retry-After", "")
    return min(float(text), _LONGEST_RETRY_AFTER) if text.isdecimal() else pause
