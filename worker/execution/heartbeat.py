"""The thread that keeps a job's lease while the job moves, and brings back requested actions."""

import os
import sys
import threading
import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from types import TracebackType
from typing import Literal, Self, TypeAlias

import structlog

from runtime.supervision import OomKills
from store.db import DATABASE_AWAY, LostLease
from store.jobs import Renewed

log = structlog.get_logger(__name__)

#: The lease counts as over so much (of its length) before it is: room for a step and for the clock.
MARGIN = 0.1
RETRY_SECONDS = 0.5
#: A job may take this long to stop when asked: a step, a batch, the loading of its data.
UNHEARD_SECONDS = 15.0
#: An orphan may take so long to say why it is one.
ORPHAN_SECONDS = 5.0
TICK_SECONDS = 0.25


#: How this thread ends an attempt whose own thread doesn't listen.
End: TypeAlias = Literal["cancelled", "drained", "lost", "stalled"]


@dataclass(frozen=True, slots=True)
class LeaseTiming:
    """How long a lease lasts, how often it is renewed, how long a job may stand still; in seconds."""

    lease: float
    renewal: float
    stall: float


class Heartbeat:
    """State shared by two threads: the job's says `progressed`, this one's renews it and reads requested actions.

    `renew(seconds_used)` is a fenced write; `wanted()` is the end that the job should come to now, if
    any. `abandon(end, why)` is called once when nothing moved for too long, or the kernel killed the parent; the process
    ends after it: a hanging thread can be freed in no other way.
    """

    def __init__(
        self,
        renew: Callable[[float], Renewed],
        wanted: Callable[[], End | None],
        abandon: Callable[[End, str], None],
        timing: LeaseTiming,
        *,
        acquired_at: float,
        parent: int,
        exit_process: Callable[[int], None] = os._exit,
    ) -> None:
        self.requested_action: str | None = None
        self.lost = False
        self._renew = renew
        self._wanted = wanted
        self._abandon = abandon
        self._timing = timing
        self._exit_process = exit_process
        self._parent = parent
        self._watched = threading.get_ident()
        self._started_at = self._progressed_at = acquired_at
        self._suspended_seconds = 0.0
        self._suspended_at: float | None = None
        # `acquired_at` was read before the lease was asked for, so by this process's clock the lease ends
        # too early, never too late. With 90 s and a margin of 0.1 the attempt is suspended after 81 s,
        # unless it was renewed.
        self._trusted_until = acquired_at + timing.lease * (1 - MARGIN)
        self._due_at = acquired_at + timing.renewal
        self._away = False
        self._oom_kills = OomKills()
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="heartbeat", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        at: TracebackType | None,
    ) -> None:
        # A renewal that hangs in the database must not hold up a process that wants to end.
        self._stop.set()
        self._thread.join(timeout=1.0)

    def progressed(self) -> None:
        """Called after every step: one float is written, nothing is locked."""
        self._progressed_at = time.monotonic()

    @property
    def trusted(self) -> bool:
        """By this process's own clock, no other attempt can hold the job yet."""
        return time.monotonic() < self._trusted_until

    @property
    def seconds_used(self) -> float:
        """Time in this attempt, without the time it stood suspended."""
        now = self._suspended_at or time.monotonic()
        return now - self._started_at - self._suspended_seconds

    def suspend(self, give_up: Callable[[], bool]) -> bool:
        """Wait between two steps until a renewal says that the job is still ours; False: given up."""
        log.warning("the lease ran out before it could be renewed: training is suspended")
        self._suspended_at = time.monotonic()
        try:
            while not (self.trusted or self.lost or give_up()):
                time.sleep(0.05)
        finally:
            now = time.monotonic()
            # The time spent waiting for the database is not the job's: it counts neither towards
            # its timeout nor as standing still.
            self._suspended_seconds += now - self._suspended_at
            self._suspended_at, self._progressed_at = None, now
        return self.trusted or self.lost

    def _run(self) -> None:
        tick = min(TICK_SECONDS, self._timing.renewal)
        while not self._stop.wait(tick):
            self._oom_kills.look()
            if os.getppid() != self._parent:
                self._leave_orphaned()
                return
            if end := self._due_end():
                self._end_here(end)
                return
            # A thread that hangs after its lease was lost would keep this process from work for ever.
            if not self.lost and time.monotonic() >= self._due_at:
                self._beat()

    def _leave_orphaned(self) -> None:
        """The lease runs out by itself, or the next parent ends the attempt; but neither knows of the kernel's kill."""
        if self._oom_kills.explain_death():
            text = (
                f"the worker's parent, process {self._parent}, is gone, and the kernel has just killed a process of this "
                "machine because it was short of memory"
            )
            # A database that hangs must not keep an orphan at work.
            saying = threading.Thread(target=self._try_to_abandon, args=("lost", text), daemon=True)
            saying.start()
            saying.join(ORPHAN_SECONDS)
        self._exit_process(1)

    def _due_end(self) -> End | None:
        """Why the attempt ends from here, its own thread not listening."""
        # A suspended attempt stands still on purpose, and asks itself when to give up.
        if self._suspended_at is not None:
            return None
        still_for = time.monotonic() - self._progressed_at
        if still_for > self._timing.stall:
            return "stalled"
        return self._wanted() if still_for > UNHEARD_SECONDS else None

    def _end_here(self, end: End) -> None:
        stacks = _format_stacks(self._watched)
        log.error("nothing moved for too long: the attempt ends", end=end)
        self._try_to_abandon(end, f"Nothing moved for too long. It was here:\n{stacks}")
        self._exit_process(1)

    def _try_to_abandon(self, end: End, text: str) -> None:
        try:
            self._abandon(end, text)
        except Exception:  # Whatever it is: this process must end.
            log.warning("the attempt's end could not be recorded", exc_info=True)

    def _beat(self) -> None:
        # Taken before the request: the lease counts from when the database writes it, which is later, so
        # that this process never trusts its lease longer than the database does.
        asked_at = time.monotonic()
        try:
            renewed = self._renew(self.seconds_used)
        except LostLease:
            self.lost = True
            return
        except Exception as error:  # Whatever it is, a later renewal decides whose the job is.
            self._due_at = time.monotonic() + min(RETRY_SECONDS, self._timing.renewal)
            if not self._away:
                unforeseen = None if isinstance(error, DATABASE_AWAY) else error
                log.warning("the lease is not renewed", error=str(error), exc_info=unforeseen)
            self._away = True
            return
        self.requested_action = renewed.requested_action
        self._trusted_until = asked_at + self._timing.lease * (1 - MARGIN)
        self._due_at = asked_at + self._timing.renewal
        self._away = False


def _format_stacks(first: int) -> str:
    """Of all threads but this one, that of the job first: it may wait for what another one doesn't do."""
    frames = sys._current_frames()
    frames.pop(threading.get_ident(), None)
    names = {thread.ident: thread.name for thread in threading.enumerate()}
    threads = sorted(frames, key=lambda thread: thread != first)
    stacks = {thread: "".join(traceback.format_stack(frames[thread])) for thread in threads}
    return "\n".join(f"Thread {names.get(one, one)}:\n{stacks[one]}" for one in threads)
