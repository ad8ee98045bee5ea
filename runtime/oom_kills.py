"""Processes that the kernel has killed because the machine, or their control group, was out of memory."""

import math
import re
import time
from pathlib import Path

#: Counts the kills of all control groups, also as seen from a container.
COUNTERS = Path("/proc/vmstat")
#: A victim is counted before it is gone, and to give back much memory takes a while.
_DYING_SECONDS = 10.0


def count_oom_kills(counters: Path = COUNTERS) -> int:
    """Since the machine was started; 0 where the kernel doesn't tell."""
    try:
        found = re.search(r"^oom_kill (\d+)$", counters.read_text(), re.MULTILINE)
    except OSError:
        return 0
    return int(found[1]) if found else 0


class OomKills:
    """Tells a process that was killed for its memory from one that died otherwise; looked at again and again."""

    def __init__(self, counters: Path = COUNTERS) -> None:
        self._counters = counters
        self._count = count_oom_kills(counters)
        self._unexplained = 0
        self._risen_at = -math.inf

    def look(self) -> None:
        """The deaths of the next seconds may be those of what has been killed since the last look."""
        now, count = time.monotonic(), count_oom_kills(self._counters)
        if count > self._count:
            self._unexplained += count - self._count
            self._risen_at = now
        elif now - self._risen_at > _DYING_SECONDS:
            self._unexplained = 0
        self._count = count

    def explain_death(self) -> bool:
        """Whether a process that is gone since the last look was killed for its memory. Each kill explains one."""
        if self._unexplained == 0:
            return False
        self._unexplained -= 1
        return True
