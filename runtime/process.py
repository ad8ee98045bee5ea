"""What a process does about itself: a low priority, an end with its parent, and an end where a signal asks for it."""

import ctypes
import os
import signal
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType

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
