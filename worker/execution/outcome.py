"""How an attempt's outcome is written: the last, fenced transaction of an attempt."""

from typing import Literal, TypeAlias

from sqlalchemy.orm import Session

from store.catalog import datasets
from store.db import lock_attempt
from store.jobs import Assignment, commands
from studies.growth import grow
from studies.tuning import UnheardRequest, continue_tuning
from trainer.events import Finished
from trainer.spec import DatasetInfo
from worker.execution.failures import Failure

Stop: TypeAlias = Literal["cancelled", "paused", "preempted", "drained", "timeout"]

#: What became of an attempt that may still say so.
Outcome: TypeAlias = Finished | DatasetInfo | Failure | Stop


def describe_end(outcome: Outcome) -> tuple[str, str | None]:
    """The attempt's end, and the job's reason where it is the end of that, too."""
    match outcome:
        case Finished(reason=reason):
            return "completed", reason
        case DatasetInfo():
            return "completed", None
        case Failure(reason=reason):
            return reason, None
        case "timeout":
            return "error", "timeout"
        case _:
            return outcome, None


def record_outcome(
    session: Session,
    assignment: Assignment,
    outcome: Outcome,
    seconds_used: float,
    memory_bytes: int | None = None,
) -> None:
    """Raises LostLease."""
    job, attempt = assignment.job_id, assignment.attempt
    match outcome:
        case Finished(reason=reason, metrics=metrics):
            request = UnheardRequest.of(lock_attempt(session, job, attempt))
            finished = commands.finish(
                session,
                job,
                attempt,
                reason=reason,
                metrics=dict(metrics),
                seconds_used=seconds_used,
                memory_bytes=memory_bytes,
            )
            if finished.study_id is not None:
                follow = grow if finished.trial is None else continue_tuning
                follow(session, finished.study_id, request)
        case DatasetInfo():
            # Fenced first: a dataset is made ready only by the attempt that still holds its job.
            commands.finish(session, job, attempt, reason="completed", seconds_used=seconds_used)
            datasets.mark_ready(session, assignment.dataset_id, outcome)
        case Failure(reason=reason, text=text, final=True):
            commands.fail(session, job, attempt, reason, text, seconds_used=seconds_used)
        case Failure(reason="oom" | "disk" | "error" as end, text=text):
            commands.end_attempt(session, job, attempt, end, error=text, seconds_used=seconds_used)
        case "timeout":
            text = f"the job used up its {assignment.timeout_seconds:g} seconds of training time"
            commands.fail(session, job, attempt, "timeout", text, seconds_used=seconds_used)
        case "cancelled" | "paused" | "preempted" | "drained":
            commands.end_attempt(session, job, attempt, outcome, seconds_used=seconds_used)
        case _:
            raise AssertionError(f"no way to end an attempt with {outcome!r}")
