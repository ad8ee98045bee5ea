"""What a job's way through the worker's processes looks like in its trace."""

from collections import deque
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime

from runtime.tracing import (
    NO_TRACES,
    Attribute,
    Span,
    SpanEvent,
    Traces,
    attempt_context,
    make_traces,
)
from store.jobs import Assignment, EndedAttempt
from trainer.events import EpochFinished, EvaluationFinished, Event, Started

#: How an attempt ends that has failed; all others end as somebody wants them to.
ERRORS = frozenset({"lost", "stalled", "oom", "disk", "error"})
#: Of a training's epochs, the last ones.
MOST_EPOCHS = 100


class AttemptTrace:
    """The spans of one attempt, each sent when its part has ended: a process that is killed loses no more than the one that
    it is at. A job that was submitted without a trace has none.
    """

    def __init__(self, traces: Traces, assignment: Assignment, host: str) -> None:
        self._traces = traces
        self._assignment = assignment
        self._host = host
        parent = assignment.trace_context if traces is not NO_TRACES else None
        self._context = parent and attempt_context(parent, assignment.job_id, assignment.attempt)
        self._training: Started | None = None
        self._began_at = self._trained_until = assignment.started_at
        self._evaluations: list[str] = []
        self._epochs = 0
        self._events: deque[SpanEvent] = deque(maxlen=MOST_EPOCHS)

    def take(self, event: Event) -> None:
        if self._context is None:
            return
        match event:
            case Started():
                self._training = event
                self._began_at = self._trained_until = datetime.now(UTC)
            case EpochFinished():
                self._epochs += 1
                self._trained_until = datetime.now(UTC)
                place = {"normlab.epoch": event.epoch, "normlab.step": event.step}
                self._events.append(SpanEvent("epoch", self._trained_until, place))
            case EvaluationFinished():
                self._end_training(self._trained_until)
                self._evaluations.append(event.name)
            case _:
                pass

    def end(self, end: str, reason: str | None = None) -> None:
        """As it was written down; `reason`: the job's."""
        if self._context is None:
            return
        now = datetime.now(UTC)
        if self._evaluations:
            names = {"normlab.evaluations": self._evaluations}
            self._record("evaluate", self._trained_until, now, names)
        self._end_training(now)
        devices = [f"{one.kind} {one.number}" for one in self._assignment.devices]
        attributes: dict[str, Attribute] = {"normlab.devices": devices}
        if reason is not None:
            attributes["normlab.reason"] = reason
        assignment = self._assignment
        assert assignment.trace_context is not None
        ended = EndedAttempt(
            assignment.job_id,
            assignment.attempt,
            self._host,
            end,
            assignment.started_at,
            now,
            assignment.queued_at,
            assignment.study_id,
            assignment.trace_context,
        )
        record_attempt(self._traces, ended, attributes)

    def abandon(self, end: str) -> None:
        """As `end`, of a process that is about to end without further ado."""
        self.end(end)
        self._traces.close()

    def _end_training(self, at: datetime) -> None:
        started, self._training = self._training, None
        if started is None:
            return
        attributes: dict[str, Attribute] = {
            "normlab.first_step": started.first_step,
            "normlab.total_steps": started.total_steps,
            "normlab.epochs": self._epochs,
            "normlab.parameters": started.parameters,
        }
        self._record("train", self._began_at, at, attributes, tuple(self._events))

    def _record(
        self,
        name: str,
        started_at: datetime,
        ended_at: datetime,
        attributes: Mapping[str, Attribute],
        events: Sequence[SpanEvent] = (),
    ) -> None:
        assert self._context is not None
        span = Span(name, self._context, started_at, ended_at, attributes, events=events)
        self._traces.record(span)


def record_attempt(
    traces: Traces, ended: EndedAttempt, attributes: Mapping[str, Attribute] | None = None
) -> None:
    """By whoever has written down that it has ended, and by nobody else."""
    known: dict[str, Attribute] = {
        "normlab.job": ended.job_id,
        "normlab.attempt": ended.number,
        "normlab.host": ended.host,
        "normlab.end": ended.end,
    }
    if ended.study_id is not None:
        known["normlab.study"] = ended.study_id
    # A later attempt has waited only since the one before has ended.
    if ended.number == 1:
        waited = ended.started_at - ended.queued_at
        known["normlab.queued_seconds"] = round(waited.total_seconds(), 3)
    traces.record(
        Span(
            "attempt",
            ended.trace_context,
            ended.started_at,
            ended.ended_at,
            {**known, **(attributes or {})},
            context=attempt_context(ended.trace_context, ended.job_id, ended.number),
            error=ended.end if ended.end in ERRORS else None,
        )
    )


def record_lost(ended: Sequence[EndedAttempt]) -> None:
    """From a process that forks, and keeps no thread for this: takes two seconds at most."""
    if not ended:
        return
    traces = make_traces("worker")
    for one in ended:
        record_attempt(traces, one)
    traces.close()
