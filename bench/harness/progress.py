"""Lines on stderr that say what a long run is doing."""

import sys
import time

_BEGAN = time.monotonic()


def say(what: str) -> None:
    print(f"{time.monotonic() - _BEGAN:6.0f} s  {what}", file=sys.stderr, flush=True)
