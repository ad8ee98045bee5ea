"""What a background process asks of the kernel: a low priority, and to end with its parent."""

import ctypes
import os
import signal
import sys
import time
from pathlib import Path

from pydantic import Field
from pydantic_settings import BaseSettings, SettingsConfigDict

#: Of `prctl`: the signal that a process gets when its parent ends.
_SET_PARENT_DEATH_SIGNAL = 1
_TRIES = 20
_PAUSE_SECONDS = 0.11


class PrioritySettings(BaseSettings):
    """What the environment says (NORMLAB_*)."""

    model_config = SettingsConfigDict(env_prefix="NORMLAB_", frozen=True)

    #: A niceness, as of `nice`: at 10 a busy process gets about a tenth of what a busy training gets.
    background_nice: int = Field(default=10, ge=0, le=19)


def lower_priority() -> None:
    """Lowers this process's priority by `background_nice`, and that of its session if it leads one: training
    and answering requests come first.

    Where Linux groups processes by session (`sched_autogroup`), niceness only counts inside a session,
    and each daemon has one of its own: the session's weight is what others notice (man 7 sched).
    """
    nice = PrioritySettings().background_nice
    os.nice(nice)
    if os.getsid(0) == os.getpid():
        weigh_session(nice)


def weigh_session(nice: int) -> None:
    """Lowers the priority of the session that this process leads, where the kernel weighs sessions."""
    for _ in range(_TRIES):
        try:
            Path("/proc/self/autogroup").write_text(str(nice))
        except BlockingIOError:
            # Of processes that are not root's, the kernel takes one such change in a tenth of a second.
            time.sleep(_PAUSE_SECONDS)
        except OSError:  # another kernel, or one without sched_autogroup
            return
        else:
            return


def end_with_parent(number: signal.Signals = signal.SIGKILL) -> None:
    """Has this process killed when the thread that started it ends, however that comes. On Linux only.

    It may have ended before: whoever calls this looks afterwards.
    """
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_SET_PARENT_DEATH_SIGNAL, number, 0, 0, 0)
