"""Low priority for background processes: training and answering requests come first."""

import os
from contextlib import suppress
from pathlib import Path

NICE = 10


def lower_priority() -> None:
    """Lowers this process's priority, and that of its session if it leads one.

    Where Linux groups processes by session (`sched_autogroup`), niceness only counts inside a session,
    and each daemon has one of its own: the session's weight is what others notice (man 7 sched).
    """
    os.nice(NICE)
    if os.getsid(0) == os.getpid():
        # Another kernel, or one without sched_autogroup.
        with suppress(OSError):
            Path("/proc/self/autogroup").write_text(str(NICE))
