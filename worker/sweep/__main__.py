"""`python -m worker.sweep`: the loop that releases expired leases, judges studies that have ended, and sends webhooks."""

import signal
import sys
import threading
import time
from concurrent.futures import Future, ThreadPoolExecutor
from datetime import timedelta
from types import FrameType

import structlog
from celery import Celery
from sqlalchemy import Connection, Engine

from runtime.logs import configure_logging
from runtime.metrics import Rounds, make_registry, serve
from runtime.tracing import NO_TRACES, Traces, make_traces
from store.db import DATABASE_AWAY, make_engine, make_sessions
from store.deletions import leftovers
from store.jobs import leases, maintenance, preemption, usage, wakeups
from store.results import start_estimates
from store.reuse import answers
from store.studies import verdicts
from store.webhooks import deliveries
from studies.planning import read_line
from studies.rendering import Renderer
from worker.settings import Settings
from worker.startup import wait_for_storage
from worker.sweep.mailing import Mailer, Relay
from worker.sweep.notifier import Notifier
from worker.sweep.orphans import delete_left, delete_orphans, delete_unfinished
from worker.sweep.searches import continue_halted
from worker.sweep.sending import Sender
from worker.sweep.verdicts import judge_ended
from worker.traces import record_attempt

log = structlog.get_logger("worker.sweep")

RETRY_SECONDS = 1.0
TIDY_SECONDS = 3600.0
SEARCH_SECONDS = 30.0
KEYS_LAST = timedelta(hours=24)
ESTIMATES_LAST = timedelta(days=30)
#: Of jobs further behind it isn't known.
MOST_ESTIMATED = 1000


def main() -> int:
    """Runs until SIGTERM or SIGINT."""
    settings = Settings()
    configure_logging(settings.log_level)
    traces = make_traces("sweep")
    stop = threading.Event()

    def leave(number: int, frame: FrameType | None) -> None:
        stop.set()

    signal.signal(signal.SIGTERM, leave)
    signal.signal(signal.SIGINT, leave)
    engine = make_engine(settings.database_url)
    wait_for_storage(make_sessions(engine), settings.storage, stop=stop)
    sweep = Sweep(settings, engine, wakeups.make_celery(settings.redis_url), traces)
    serve(sweep.registry, settings.sweep_metrics)
    sweep.run(stop)
    traces.close()
    return 0


class Sweep:
    """Its rounds, and since when the database has been there without a break."""

    def __init__(
        self, settings: Settings, engine: Engine, celery: Celery, traces: Traces = NO_TRACES
    ) -> None:
        self._traces = traces
        self.registry = make_registry("sweep")
        self._timed_rounds = Rounds(self.registry, "sweep_round")
        self._settings = settings
        self._engine = engine
        self._sessions = make_sessions(engine)
        self._celery = celery
        self._away = False
        self._back_at: float | None = None
        self._tidied_at: float | None = None
        # One thread: studies are judged one after the other, and a round never starts a second
        # judging beside the first.
        self._beside = ThreadPoolExecutor(max_workers=1, thread_name_prefix="judging")
        self._judging: Future[list[int]] | None = None
        self._deleting: Future[int] | None = None
        self._continuing: Future[list[int]] | None = None
        self._continued_at: float | None = None
        self._renderer = Renderer()
        sender = Sender(settings.webhook_networks)
        mailer = Mailer(Relay.of(settings))
        self._notifier = Notifier(self._sessions, sender, settings.address_in_links, mailer)

    def run(self, stop: threading.Event) -> None:
        """One sweep at a time works; the others wait for its lock."""
        while not stop.is_set():
            try:
                with maintenance.sweep_lock(self._engine) as connection:
                    if connection is not None:
                        self._note_return()
                        self._take_over()
                        self._rounds(connection, stop)
            except DATABASE_AWAY as error:
                if not self._away:
                    log.warning("the database is away", error=str(error))
                self._away = True
            stop.wait(RETRY_SECONDS)
        self._renderer.stop()
        self._beside.shutdown(cancel_futures=True)
        self._notifier.stop()

    def _take_over(self) -> None:
        seconds = self._settings.usage_half_life_seconds
        with self._sessions.begin() as session:
            verdicts.retry_failed(session)
            is_new = usage.set_half_life(session, seconds)
        if is_new:
            log.info("what people have used has another half-life from now on", seconds=seconds)

    def _rounds(self, connection: Connection, stop: threading.Event) -> None:
        while not stop.is_set():
            self._check_alive(connection)
            with self._timed_rounds.timed():
                self.round()
            stop.wait(self._settings.sweep_seconds)

    def _check_alive(self, connection: Connection) -> None:
        """A database that hung (its disk, its whole machine) kept the workers from renewing: that is an outage, too."""
        asked_at = time.monotonic()
        maintenance.check_alive(connection)
        now = time.monotonic()
        if now - asked_at > self._settings.lease_seconds / 4:
            log.warning("the database did not answer for a while", seconds=round(now - asked_at, 1))
            self._back_at = now

    def round(self) -> None:
        """Raises one of DATABASE_AWAY; what is undone then is done by the next round."""
        # Leases first: the wake-ups that follow then count the jobs that have just become runnable.
        released = self._release()
        if released:
            log.warning("leases expired; their attempts have ended", jobs=released)
        self._move_queue()
        with self._sessions.begin() as session:
            due = wakeups.due(session)
        if due:
            wakeups.send(self._celery, due)
        self._estimate_starts()
        self._judge()
        self._notifier.start()
        self._continue_searches()
        self._delete_files()
        if self._tidied_at is None or time.monotonic() - self._tidied_at > TIDY_SECONDS:
            self._tidy()
            self._tidied_at = time.monotonic()

    def _move_queue(self) -> None:
        """Release what waits for an equal job in vain, and ask running jobs to give way."""
        try:
            with self._sessions.begin() as session:
                answers.release_waiting(session)
            with self._sessions.begin() as session:
                asked = preemption.preempt(session, self._settings.preempt_after_seconds)
        except DATABASE_AWAY:
            raise
        except Exception:  # Leases, which this process is for, don't depend on it.
            log.exception("the queue could not be looked through")
        else:
            if asked:
                log.info("jobs are asked to give way to others of a higher class", jobs=asked)

    def _estimate_starts(self) -> None:
        """Of jobs that were queued since the last round: how wrong it was is known once they start."""
        try:
            with self._sessions.begin() as session:
                if new := start_estimates.missing(session):
                    line = read_line(session, MOST_ESTIMATED)
                    starts = {one.waiting.job.id: one.starts_in for one in line.places}
                    start_estimates.record(session, line.at, {one: starts.get(one) for one in new})
        except DATABASE_AWAY:
            raise
        except Exception:  # Leases, which this process is for, don't depend on it.
            log.exception("it could not be estimated when jobs will start")

    def _judge(self) -> None:
        """Beside the rounds: reports take seconds to draw, and leases don't wait."""
        if self._judging is not None:
            if not self._judging.done():
                return
            if error := self._judging.exception():
                log.error("claims could not be judged", exc_info=error)
        storage = self._settings.storage
        self._judging = self._beside.submit(
            judge_ended, self._sessions, storage, self._renderer, self._traces
        )

    def _continue_searches(self) -> None:
        """Beside the rounds, too; seldom, since few trials end in nobody's hands."""
        now = time.monotonic()
        if self._continued_at is not None and now - self._continued_at < SEARCH_SECONDS:
            return
        self._continued_at = now
        if self._continuing is not None:
            if not self._continuing.done():
                return
            if error := self._continuing.exception():
                log.error("searches that halt could not be found", exc_info=error)
        self._continuing = self._beside.submit(continue_halted, self._sessions)

    def _delete_files(self) -> None:
        """Beside the rounds, too: an object store may take long to list them."""
        if self._deleting is not None:
            if not self._deleting.done():
                return
            if error := self._deleting.exception():
                log.warning("files of what was deleted are not deleted yet", error=str(error))
        self._deleting = self._beside.submit(delete_left, self._sessions, self._settings.storage)

    def _release(self) -> list[int]:
        """Nothing until one lease after an outage: till then the workers could not renew.

        What ran out because of the outage doesn't count towards the limit of attempts.
        """
        if self._back_at is None:
            return self._release_older_than(0.0, counts=True)
        settled_for = time.monotonic() - self._back_at - self._settings.lease_seconds
        if settled_for < 0:
            return []
        # Ran out before one lease had passed since: not renewed since.
        by_outage = self._release_older_than(settled_for, counts=False)
        released = [*by_outage, *self._release_older_than(0.0, counts=True)]
        self._back_at = None
        return released

    def _release_older_than(self, seconds: float, *, counts: bool) -> list[int]:
        with self._sessions.begin() as session:
            released = leases.release_expired(session, seconds, counts=counts)
            is_traced = self._traces is not NO_TRACES
            traced = maintenance.read_traced(session, released) if is_traced else ()
        for one in traced:
            record_attempt(self._traces, one)
        return released

    def _note_return(self) -> None:
        """A server that started less than a lease ago was away too, whether we saw it or not."""
        with self._sessions.begin() as session:
            up_for = maintenance.seconds_since_start(session)
        if self._away:
            log.info("the database is back")
            self._back_at = time.monotonic()
        elif up_for < self._settings.lease_seconds:
            self._back_at = time.monotonic() - up_for
        self._away = False

    def _tidy(self) -> None:
        with self._sessions.begin() as session:
            maintenance.delete_old_keys(session, KEYS_LAST)
            start_estimates.forget(session, ESTIMATES_LAST)
            leftovers.look_again(session)
            deliveries.forget_old(session)
            difference = maintenance.check_usage(session)
        if difference > maintenance.USAGE_TOLERANCE:
            log.error("what people have used was wrong, and is summed up anew", by=difference)
        self._remove_checkpoints()
        try:
            delete_orphans(self._sessions, self._settings.storage)
            delete_unfinished(self._settings.storage.root)
        except OSError as error:  # A storage that is away or read-only: leases don't wait for it.
            log.warning("the storage is not tidied", error=str(error))

    def _remove_checkpoints(self) -> None:
        """Their files go with those that no row names."""
        kept, count = timedelta(days=self._settings.keep_checkpoints_days), 0
        while True:
            with self._sessions.begin() as session:
                removed = maintenance.remove_checkpoints(session, kept).stored.count
            count += removed
            if removed < maintenance.CHECKPOINTS_AT_ONCE:
                break
        if count:
            log.info("checkpoints of ended jobs are removed", checkpoints=count)


if __name__ == "__main__":
    sys.exit(main())
