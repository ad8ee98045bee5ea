"""One acquired job, from its start to its end in SQL."""

import os
import time
from collections.abc import Generator
from contextlib import closing

import structlog

from runtime.tracing import trace_id
from store.db import LostLease
from store.jobs import Assignment, Renewed, commands
from studies.tuning import TrialStop
from trainer.errors import DataError
from trainer.events import Event, Finished, Progressed, Stepped, StopRequest
from worker.execution import memory
from worker.execution.context import ExecutionContext
from worker.execution.decoding import decode_dataset
from worker.execution.failures import Failure, judge
from worker.execution.heartbeat import End, Heartbeat
from worker.execution.inputs import fetch_trial_stop
from worker.execution.log_lines import format_event, forwarded_warnings
from worker.execution.outcome import (
    NetworkChecks,
    Outcome,
    Stop,
    describe_end,
    record_outcome,
)
from worker.execution.recorder import Recorder, Write, write_alone
from worker.execution.standstill import Standstill, stacks_file
from worker.execution.training import Training
from worker.traces import AttemptTrace

log = structlog.get_logger(__name__)

#: How long a drained child waits for an absent database before it leaves the rest to the sweep.
PATIENCE_SECONDS = 5.0
#: What is on its way to an object store: so long a finished job waits for it, and one that was stopped.
STORE_SECONDS, STOPPED_STORE_SECONDS = 1800.0, 45.0

#: How each requested action ends an attempt.
STOPS: dict[str, Stop] = {"cancel": "cancelled", "pause": "paused", "preempt": "preempted"}


def execute(assignment: Assignment, context: ExecutionContext, acquired_at: float) -> bool:
    """Run the job to its end and record it; False when this process must not run another one."""
    ids: dict[str, int | str] = {"job": assignment.job_id, "attempt": assignment.attempt}
    if trace := trace_id(assignment.trace_context):
        ids["trace"] = trace
    with structlog.contextvars.bound_contextvars(**ids):
        return Execution(assignment, context, acquired_at).run()


class Execution:
    """One attempt: its heartbeat, its recorder, and why it should stop."""

    def __init__(
        self, assignment: Assignment, context: ExecutionContext, acquired_at: float
    ) -> None:
        self._assignment = assignment
        self._context = context
        self._recorder = Recorder(
            context.sessions, context.storage, assignment.job_id, assignment.attempt
        )
        self._heartbeat = Heartbeat(
            self._renew,
            self._wanted,
            self._abandon,
            context.timing,
            acquired_at=acquired_at,
            parent=context.parent,
        )
        self._trace = AttemptTrace(context.traces, assignment, context.host)
        self._budget = assignment.timeout_seconds - assignment.seconds_used
        self._devices = [context.torch_device(one) for one in assignment.devices]
        self._step = 0
        self._stop: Stop | None = None
        self._draining_since: float | None = None

    def run(self) -> bool:
        """See `execute`."""
        log.info("acquired", kind=self._assignment.kind)
        memory.reset_peak(self._devices[0])
        stacks = stacks_file(os.getpid(), self._context.instance)
        standstill = Standstill(self._context.timing.stall, stacks)
        with standstill, self._heartbeat, forwarded_warnings(self._recorder.say):
            outcome = self._outcome()
            # Still inside the heartbeat: the last write may wait for the database, and the job must
            # not be released meanwhile.
            self._close(outcome)
        log.info("ended", outcome=type(outcome).__name__, seconds=self._heartbeat.seconds_used)
        return not (isinstance(outcome, Failure) and outcome.poisoned)

    def _outcome(self) -> Outcome | None:
        """What became of it; None when the lease was lost and nothing may be said."""
        try:
            return self._decode() if self._assignment.kind == "dataset" else self._train()
        except LostLease:
            return None
        except DataError as error:
            failure = self._judge(error)
            # What a disk without room did to the data says nothing about them.
            return failure if failure.reason == "disk" else Failure("error", str(error), final=True)
        except Exception as error:
            log.warning("the job raised", exc_info=True)
            return self._judge(error)

    def _judge(self, error: Exception) -> Failure:
        return judge(error, self._context.host, self._context.space)

    def _train(self) -> Outcome | None:
        assignment, context = self._assignment, self._context
        say, progressed = self._recorder.say, self._heartbeat.progressed
        planned = Training.of(assignment)
        training = planned.fetch(context.storage, lambda: not self._should_stop(), progressed, say)
        if training is None:
            return self._stop
        trial_stop = None
        if assignment.study_id is not None:
            job = assignment.job_id
            trial_stop = fetch_trial_stop(context.sessions, job, lambda: not self._should_stop())
        # Closed by name: an error that is kept keeps its frames, and with them the model's memory.
        with closing(training.start(assignment, context, self._devices, progressed)) as events:
            return self._follow(events, training.spec.periods, trial_stop)

    def _follow(
        self,
        events: Generator[Event, StopRequest | None, None],
        periods: int,
        trial_stop: TrialStop | None,
    ) -> Outcome | None:
        """Drive the training to its end, or until something stops it."""
        request: StopRequest | None = None
        while True:
            try:
                event = events.send(request)
            except StopIteration:
                return self._stop
            self._take(event, periods)
            if isinstance(event, Finished):
                return event
            if trial_stop is not None and (end := trial_stop.observe(event)):
                self._recorder.say("info", "stopped early: behind earlier trials of its arm")
                return end
            asks = isinstance(event, Stepped | Progressed) and self._should_stop()
            # A cancelled job needs no checkpoint: closing the generator abandons its training.
            if asks and self._stop == "cancelled":
                return self._stop
            request = StopRequest.SAVE_AND_STOP if asks else None

    def _take(self, event: Event, periods: int) -> None:
        self._heartbeat.progressed()
        if isinstance(event, Stepped):
            self._step = event.step
            return
        self._trace.take(event)
        self._recorder.record(event)
        if line := format_event(event, periods):
            self._recorder.say("info", line)

    def _decode(self) -> Outcome | None:
        decoded = decode_dataset(
            self._assignment, self._context.storage, self._context.data_roots,
            self._heartbeat, self._recorder.say, self._should_stop,
        )  # fmt: skip
        return decoded or self._stop

    def _should_stop(self) -> bool:
        """Asked between two steps: mostly three comparisons. Raises LostLease; may suspend."""
        heartbeat = self._heartbeat
        if self._recorder.failure is not None:
            raise self._recorder.failure
        # A lease that may have run out allows no further step: another host may have the job by
        # now. The state stays in memory, so that nothing is lost if the renewal comes through after
        # all.
        if not heartbeat.trusted and not heartbeat.suspend(self._gives_up):
            raise LostLease(self._assignment.job_id, self._assignment.attempt)
        if heartbeat.lost:
            raise LostLease(self._assignment.job_id, self._assignment.attempt)
        # The first reason stays. A job that is being paused when the worker starts to drain ends as
        # paused, and is not queued again.
        if self._stop is None:
            self._stop = self._requested_stop()
            if self._stop is None and heartbeat.seconds_used > self._budget:
                self._stop = "timeout"
        return self._stop is not None

    def _close(self, outcome: Outcome | None) -> None:
        if isinstance(outcome, Failure):
            self._recorder.say("error", outcome.text.strip().splitlines()[-1])
        outcome = self._await_uploads(outcome)
        last = None if outcome is None else self._last_write(outcome)
        try:
            if not self._recorder.close(last, give_up=self._gives_up):
                log.warning("not all could be recorded: the sweep will return the job")
            elif outcome is not None:
                self._trace.end(*describe_end(outcome))
        except LostLease:
            log.warning("the attempt is no longer ours: what it did is discarded")
        except Exception as error:
            log.error("what happened could not be recorded", exc_info=True)
            failure = self._judge(error)
            write_alone(self._context.sessions, self._last_write(failure))
            self._trace.end(*describe_end(failure))

    def _await_uploads(self, outcome: Outcome | None) -> Outcome | None:
        """A finished job ends as such once all that it has written is stored; what was stopped is trained again."""
        if outcome is None or outcome == "cancelled":
            return outcome
        began = time.monotonic()
        is_finished = isinstance(outcome, Finished)

        def goes_on() -> bool:
            self._heartbeat.progressed()
            is_stopped = not is_finished or self._requested_stop() is not None
            seconds = STOPPED_STORE_SECONDS if is_stopped else STORE_SECONDS
            return not self._heartbeat.lost and time.monotonic() - began < seconds

        problem = self._recorder.wait_for_uploads(goes_on)
        if problem is None:
            return outcome
        text = f"what the job has written could not be stored: {problem}"
        self._recorder.say("error", text)
        return (self._requested_stop() or Failure("error", text)) if is_finished else outcome

    def _requested_stop(self) -> Stop | None:
        if self._heartbeat.requested_action is not None:
            return STOPS[self._heartbeat.requested_action]
        return "drained" if self._context.drain.begun else None

    def _last_write(self, outcome: Outcome) -> Write:
        assignment, used = self._assignment, self._heartbeat.seconds_used
        peak = memory.read_peak(self._devices[0], self._context.gpu_bytes(self._devices[0]))
        memory.release_cache(self._devices[0])
        checks = NetworkChecks()
        return lambda session: record_outcome(session, assignment, outcome, used, peak, checks)

    def _gives_up(self) -> bool:
        """A lost lease, or a drain that the database has kept waiting too long.

        Asked while waiting for the database, which is no standing still.
        """
        self._heartbeat.progressed()
        if self._heartbeat.lost:
            return True
        if not self._context.drain.begun:
            return False
        self._draining_since = self._draining_since or time.monotonic()
        return time.monotonic() - self._draining_since > PATIENCE_SECONDS

    def _renew(self, seconds_used: float) -> Renewed:
        job, attempt = self._assignment.job_id, self._assignment.attempt
        lease = self._context.timing.lease
        with self._context.sessions.begin() as session:
            if self._step:
                commands.record_step(session, job, attempt, self._step)
            used_bytes = memory.read_used(self._devices[0])
            return commands.renew(session, job, attempt, lease, seconds_used, used_bytes)

    def _wanted(self) -> End | None:
        """What can't wait for a thread that doesn't listen; a pause can, for it is there to save."""
        if self._heartbeat.requested_action == "cancel":
            return "cancelled"
        return "drained" if self._context.drain.begun else None

    def _abandon(self, end: End, text: str) -> None:
        with self._context.sessions.begin() as session:
            commands.end_attempt(
                session,
                self._assignment.job_id,
                self._assignment.attempt,
                end,
                error=text if end in ("lost", "stalled") else None,
                seconds_used=self._heartbeat.seconds_used,
            )
        self._trace.abandon(end)
