"""Lines on stderr that say what a long run is doing."""

import sys
import time


def say(what: str) -> None:
    print(f"{time.strftime('%H:%M:%S')}  {what}", file=sys.stderr, flush=True)
