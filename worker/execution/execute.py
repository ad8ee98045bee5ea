"""One acquired job, from its start to its end in SQL."""

import os
import time
from collections.abc import Generator, Sequence
from contextlib import closing
from dataclasses import replace

import structlog

from runtime.tracing import trace_id
from store.db import LostLease
from store.jobs import Assignment, Renewed, commands
from studies.tuning import TrialStop
from trainer.errors import DataError
from trainer.events import (
    CheckpointSaved,
    Event,
    Finished,
    Progressed,
    Stepped,
    StopRequest,
)
from trainer.ranks import train_on_ranks
from trainer.spec import DatasetInfo, JobSpec, Numerics
from trainer.training import train
from worker.execution import memory
from worker.execution.context import ExecutionContext
from worker.execution.decoding import decode_dataset
from worker.execution.failures import Failure, judge
from worker.execution.heartbeat import End, Heartbeat
from worker.execution.inputs import fetch_inputs, fetch_trial_stop, retry_until_there
from worker.execution.job_warnings import forwarded_warnings
from worker.execution.log_lines import format_event
from worker.execution.outcome import Outcome, Stop, describe_end, record_outcome
from worker.execution.recorder import Recorder, Write
from worker.execution.standstill import Standstill, stacks_file
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
        spec = JobSpec.model_validate(self._assignment.spec)
        info, initial = DatasetInfo.model_validate(self._assignment.info), self._assignment.initial
        if spec.init_from is not None and initial is None:
            raise DataError(f"the weights of job {spec.init_from.job}, to begin from, are gone")
        saved = (*self._assignment.checkpoints, *([initial] if initial is not None else []))
        fetched = self._fetch_inputs(info, saved)
        if fetched is None:
            return self._stop
        count = len(self._assignment.checkpoints)
        resume, begin = fetched[:count], next(iter(fetched[count:]), None)
        trial_stop = None
        if self._assignment.study_id is not None:
            sessions, job = self._context.sessions, self._assignment.job_id
            trial_stop = fetch_trial_stop(sessions, job, lambda: not self._should_stop())
        # Closed by name: an error that is kept keeps its frames, and with them the model's memory.
        with closing(self._start_training(spec, info, resume, begin)) as events:
            return self._follow(events, spec.periods, trial_stop)

    def _fetch_inputs(
        self, info: DatasetInfo, checkpoints: Sequence[CheckpointSaved]
    ) -> Sequence[CheckpointSaved] | None:
        """None where it was stopped while it waited for the storage."""
        storage = self._context.storage
        if not storage.is_remote:
            return [replace(one, path=str(storage.root / one.path)) for one in checkpoints]
        progressed, say = self._heartbeat.progressed, self._recorder.say

        def goes_on() -> bool:
            progressed()
            return not self._should_stop()

        def fetch() -> Sequence[CheckpointSaved]:
            return fetch_inputs(storage, info.digest, checkpoints, progressed, say)

        return retry_until_there(fetch, goes_on, say)

    def _start_training(
        self,
        spec: JobSpec,
        info: DatasetInfo,
        resume: Sequence[CheckpointSaved],
        initial: CheckpointSaved | None,
    ) -> Generator[Event, StopRequest | None, None]:
        assignment, storage = self._assignment, self._context.storage.root
        folder = storage / "jobs" / str(assignment.job_id) / f"attempt-{assignment.attempt}"
        numerics = assignment.numerics or Numerics()
        if spec.resources.devices > 1:
            # Processes of their own, each of which loads the data: this one only hears what they do.
            return train_on_ranks(
                spec, info, storage / "datasets", folder,
                numerics=numerics, devices=[str(one) for one in self._devices], resume=resume,
                initial=initial,
            )  # fmt: skip
        data = self._context.load(spec.dataset, info)
        self._heartbeat.progressed()
        device = self._devices[0]
        memory.limit(device, assignment.devices[0].booked_bytes)
        return train(
            spec, data, folder, numerics=numerics, device=device, resume=resume, initial=initial
        )

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
            with self._context.sessions.begin() as session:
                self._last_write(failure)(session)
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
        return lambda session: record_outcome(session, assignment, outcome, used, peak)

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
