"""The parent's watch over its children: a dead child's attempt ends at once."""

import os
import threading
import time
from collections.abc import Callable, Container, Iterable
from typing import Literal

import psutil
import structlog
from sqlalchemy.orm import Session, sessionmaker

from runtime.supervision import Alarm, OomKills
from store.db import DATABASE_AWAY, LostLease
from store.jobs import EndedAttempt, commands, leases, maintenance
from worker.execution import Drain, forget_stacks, read_stacks
from worker.host.host_report import HostReport
from worker.traces import record_lost

log = structlog.get_logger(__name__)

#: Between two looks while a child is missing.
LOOK_SECONDS = 0.25
SEEN_SECONDS = 5.0


def end_orphaned_attempts(
    sessions: sessionmaker[Session],
    host: str,
    living: Callable[[], Container[int]],
    instance: str | None = None,
    out_of_memory: Container[int] = (),
    traced: list[EndedAttempt] | None = None,
) -> int:
    """End every attempt of this host's instance whose process isn't among the living; how many there were.

    As lost; as `oom` where the process is among those `out_of_memory`, which the kernel has killed; as `stalled`
    where it has ended itself. Those that are traced are added to `traced`.

    Other instances' attempts are not ours to judge: their processes may live where we can't see them.
    The living are asked after SQL: whoever is seen to hold an attempt was alive before that.
    """
    with sessions.begin() as session:
        held = maintenance.open_attempts(session, host, instance)
    alive = living() if held else ()
    dead = [attempt for attempt in held if attempt.process not in alive]
    for attempt in dead:
        log.warning("a worker process died", job=attempt.job_id, attempt=attempt.number)
        stacks = read_stacks(attempt.process, instance)
        is_oom = attempt.process in out_of_memory
        end, text = _describe_death(f"process {attempt.process} on {host}", stacks, is_oom=is_oom)
        try:
            with sessions.begin() as session:
                commands.end_attempt(
                    session, attempt.job_id, attempt.number, end, error=text, by_kernel=is_oom
                )
                ours = [] if traced is None else maintenance.read_traced(session, [attempt.job_id])
            if traced is not None:
                traced += ours
            forget_stacks(attempt.process, instance)
        except LostLease:
            log.info("it had already ended", job=attempt.job_id, attempt=attempt.number)
        except DATABASE_AWAY:
            raise
        except Exception:  # One that can't be ended must not keep the others, nor hide the host.
            log.exception("its attempt can't be ended", job=attempt.job_id, attempt=attempt.number)
    return len(dead)


def _describe_death(
    process: str, stacks: str, *, is_oom: bool
) -> tuple[Literal["lost", "oom", "stalled"], str]:
    if stacks:
        return "stalled", f"{process} stood still for too long, and ended. It was here:\n{stacks}"
    if is_oom:
        return "oom", f"the kernel killed {process}: it was out of memory"
    return "lost", f"{process} died"


def living_children() -> set[int]:
    """The process ids of this process's own children, those only waiting to be reaped left out."""
    living = set()
    for child in psutil.Process().children():
        try:
            if child.status() != psutil.STATUS_ZOMBIE:
                living.add(child.pid)
        except psutil.NoSuchProcess:
            continue
    return living


def are_all_living(children: Iterable[int]) -> bool:
    """Whether each of these is a child of this process and runs: cheaper than to look for children among all
    processes of the machine."""
    try:
        processes = [psutil.Process(child) for child in children]
        return all(
            process.ppid() == os.getpid() and process.status() != psutil.STATUS_ZOMBIE
            for process in processes
        )
    except psutil.NoSuchProcess:
        return False


class ChildWatch:
    """A thread of the parent: looks after its children, and tells SQL that the host is there.

    `freed` is called once the host is there, when a child has died, and when the host has room again; `stop`
    returns when the thread has. `traced`: attempts whose ends their traces still lack; None: nobody traces.
    """

    def __init__(
        self,
        sessions: sessionmaker[Session],
        host: str,
        drain: Drain,
        report: HostReport,
        freed: Callable[[], None],
        instance: str | None = None,
        traced: list[EndedAttempt] | None = None,
    ) -> None:
        self._traced = traced
        self._sessions = sessions
        self._host = host
        self._instance = instance
        self._drain = drain
        self._report = report
        self._freed = freed
        # Those at the last look, and with them the dead ones whose attempts haven't ended in SQL.
        self._seen: set[int] = set()
        self._living: set[int] = set()
        # Of these, those that the kernel has killed for their memory.
        self._out_of_memory: set[int] = set()
        self._oom_kills = OomKills()
        self._most_living = 0
        self._round_due_at = 0.0
        self._draining = False
        self._away = False
        self._stop = threading.Event()
        self._alarm = Alarm()
        self._thread = threading.Thread(target=self._run, name="children", daemon=True)
        self._thread.start()

    def look(self) -> None:
        """At once: the drain has begun. Safe inside a signal handler."""
        self._alarm.ring()

    def stop(self) -> None:
        """Ends the watch after one last check."""
        self._stop.set()
        self._alarm.ring()
        self._thread.join(timeout=10)

    def _run(self) -> None:
        while not self._stop.is_set():
            self._try(self._check_children)
            self._alarm.wait(self._seen, self._pause_seconds())
        self._try(self._check_children)

    def _pause_seconds(self) -> float:
        # The system tells of a death, but not of the birth of a dead child's successor; and what SQL did not take
        # is tried again.
        is_one_missing = len(self._seen) < self._most_living
        if self._away or is_one_missing or self._seen != self._living:
            return LOOK_SECONDS
        return self._round_due_at - time.monotonic()

    def _try(self, look: Callable[[], None]) -> None:
        try:
            look()
        except DATABASE_AWAY as error:
            if not self._away:
                log.warning("the database is away", error=str(error))
            self._away = True
        except Exception:  # Children must be watched whatever goes wrong with one of their jobs.
            log.exception("the watch over the children failed")
            time.sleep(SEEN_SECONDS)
        else:
            self._away = False

    def _find_living(self) -> set[int]:
        # A new child only takes the place of a dead one.
        is_complete = bool(self._seen) and len(self._seen) >= self._most_living
        if is_complete and are_all_living(self._seen):
            return self._seen
        return living_children()

    def _check_children(self) -> None:
        before, living = self._seen, self._find_living()
        self._seen = living
        # After the look: what it found to be gone was counted before.
        self._oom_kills.look()
        self._out_of_memory |= {one for one in before - living if self._oom_kills.explain_death()}
        is_round_due = time.monotonic() >= self._round_due_at
        died = bool(self._living - living)
        if died or is_round_due:
            # Who has died since the look is the next one's: only that knows of what.
            ended = end_orphaned_attempts(
                self._sessions,
                self._host,
                lambda: living | living_children(),
                self._instance,
                self._out_of_memory,
                self._traced,
            )
            self._out_of_memory.clear()
            for one in self._living - living:
                forget_stacks(one, self._instance)
            # Also one that ended its attempt itself, and left: nobody else acquires a job in its place.
            if died or ended:
                self._freed()
            # Only now: an absent database leaves the difference for the next check.
            self._living = set(living)
        # New children join at once; dead ones stay until their attempts have ended in SQL, above.
        self._living |= living
        self._most_living = max(self._most_living, len(living))
        if self._drain.begun and not self._draining:
            with self._sessions.begin() as session:
                leases.set_draining(session, self._host, instance=self._instance)
            self._draining = True
        if is_round_due:
            with self._sessions.begin() as session:
                has_room_again = self._report.send(session)
            # On a busy machine the start takes longer than a silent host gets wake-ups.
            if has_room_again or self._round_due_at == 0.0:
                self._freed()
            self._round_due_at = time.monotonic() + SEEN_SECONDS
        # Last: it may take seconds, for which nobody waits now.
        if self._traced:
            record_lost(self._traced)
            self._traced.clear()
