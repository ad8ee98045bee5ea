"""A wait for what may come at any time: the end of a process, a signal, another thread's word."""

import os
import select
from collections.abc import Iterable
from contextlib import ExitStack, suppress
from functools import cache

#: Where the system doesn't tell of the end of a process.
_POLL_SECONDS = 0.25


@cache
def can_watch_processes() -> bool:
    """Whether the system tells of the end of any process: Linux since 5.3, unless a sandbox forbids it."""
    try:
        os.close(os.pidfd_open(os.getpid()))
    except (AttributeError, OSError):
        return False
    return True


class Alarm:
    """For one thread that waits; anyone may ring."""

    def __init__(self) -> None:
        self._reader, self._writer = os.pipe()
        os.set_blocking(self._writer, False)

    def ring(self) -> None:
        """Ends the wait, or the next one where none goes on. Safe inside a signal handler."""
        with suppress(BlockingIOError):
            os.write(self._writer, b".")

    def wait(self, processes: Iterable[int], seconds: float) -> None:
        """Until one of the processes has ended, or so long."""
        if not can_watch_processes():
            processes, seconds = (), min(seconds, _POLL_SECONDS)
        with ExitStack() as stack:
            poll = select.poll()
            poll.register(self._reader, select.POLLIN)
            for process in processes:
                try:
                    descriptor = os.pidfd_open(process)
                except ProcessLookupError:
                    return
                except OSError:  # No descriptor is left: looked at again soon.
                    seconds = min(seconds, _POLL_SECONDS)
                    continue
                stack.callback(os.close, descriptor)
                poll.register(descriptor, select.POLLIN)
            for descriptor, _ in poll.poll(max(0.0, seconds) * 1000):
                if descriptor == self._reader:
                    os.read(self._reader, 4096)
