"""How an attempt's outcome is written: the last, fenced transaction of an attempt."""

from collections.abc import Sequence
from typing import Literal, TypeAlias

import structlog
from sqlalchemy.orm import Session, sessionmaker

from store.catalog import datasets
from store.db import Job, lock_attempt
from store.jobs import Assignment, commands
from studies.growth import begin_arms, grow, is_pretraining
from studies.tuning import UnheardRequest, continue_tuning
from trainer.checks import check
from trainer.events import Finished
from trainer.plugins import offered_packages
from trainer.spec import DatasetInfo, JobSpec
from worker.execution.failures import Failure
from worker.execution.recorder import NotPrepared, write_alone

log = structlog.get_logger(__name__)

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


class NetworkChecks:
    """What is wrong with the networks of settings that a search proposes: asked within a transaction, and found out between
    two, since building a network takes up to seconds."""

    def __init__(self) -> None:
        self._answers: dict[tuple[str, str], Sequence[str]] = {}
        self._asked: dict[tuple[str, str], tuple[JobSpec, DatasetInfo]] = {}

    def find_problems(self, spec: JobSpec, info: DatasetInfo) -> Sequence[str]:
        """Nothing, until it is answered."""
        key = spec.model_dump_json(), info.model_dump_json()
        if key not in self._answers:
            self._asked[key] = spec, info
        return self._answers.get(key, ())

    def ensure_answered(self) -> None:
        """Raises `NotPrepared` as long as something isn't."""
        if self._asked:
            raise NotPrepared(self._answer)

    def _answer(self) -> None:
        while self._asked:
            key, (spec, info) = self._asked.popitem()
            self._answers[key] = _look_at_network(spec, info)


def _look_at_network(spec: JobSpec, info: DatasetInfo) -> Sequence[str]:
    # A host without the packages of its plugins can't tell whether it can be trained: one that has them will.
    if spec.packages and not {*spec.packages} <= {*offered_packages()}:
        return ()
    try:
        return [problem.detail for problem in check(spec, info).problems]
    except Exception:  # The trial that has ended must not be lost for the next one's sake, which will fail by itself.
        log.exception("a proposed network could not be looked at")
        return ()


def record_outcome(
    session: Session,
    assignment: Assignment,
    outcome: Outcome,
    seconds_used: float,
    memory_bytes: int | None = None,
    checks: NetworkChecks | None = None,
) -> None:
    """With what follows from the end of a trial, of a pretraining, or of a look. `checks`: kept from one try of the transaction to the next. Raises
    LostLease, and NotPrepared."""
    # The end forgets the request.
    request = UnheardRequest.of(lock_attempt(session, assignment.job_id, assignment.attempt))
    job = _end(session, assignment, outcome, seconds_used, memory_bytes)
    if job.study_id is None:
        return
    if job.trial is None and job.status == "succeeded":
        grow(session, job.study_id, request)
    elif is_pretraining(session, job):
        if job.status == "succeeded":
            begin_arms(session, job, request)
    elif job.trial is not None and job.status in ("succeeded", "failed"):
        checks = NetworkChecks() if checks is None else checks
        continue_tuning(session, job.study_id, request, checks.find_problems)
        checks.ensure_answered()


def continue_study(sessions: sessionmaker[Session], study_id: int) -> None:
    """What follows from its trials, in a transaction of its own; nothing where that is there."""
    checks = NetworkChecks()

    def write(session: Session) -> None:
        continue_tuning(session, study_id, find_problems=checks.find_problems)
        checks.ensure_answered()

    write_alone(sessions, write)


def _end(
    session: Session,
    assignment: Assignment,
    outcome: Outcome,
    seconds_used: float,
    memory_bytes: int | None,
) -> Job:
    job, attempt = assignment.job_id, assignment.attempt
    match outcome:
        case Finished(reason=reason, metrics=metrics):
            return commands.finish(
                session,
                job,
                attempt,
                reason=reason,
                metrics=dict(metrics),
                seconds_used=seconds_used,
                memory_bytes=memory_bytes,
            )
        case DatasetInfo():
            # Fenced first: a dataset is made ready only by the attempt that still holds its job.
            ended = commands.finish(
                session, job, attempt, reason="completed", seconds_used=seconds_used
            )
            datasets.mark_ready(session, assignment.dataset_id, outcome)
            return ended
        case Failure(reason=reason, text=text, final=True):
            return commands.fail(session, job, attempt, reason, text, seconds_used=seconds_used)
        case Failure(reason="oom" | "disk" | "error" as end, text=text):
            return commands.end_attempt(
                session, job, attempt, end, error=text, seconds_used=seconds_used
            )
        case "timeout":
            text = f"the job used up its {assignment.timeout_seconds:g} seconds of training time"
            return commands.fail(session, job, attempt, "timeout", text, seconds_used=seconds_used)
        case "cancelled" | "paused" | "preempted" | "drained":
            return commands.end_attempt(session, job, attempt, outcome, seconds_used=seconds_used)
        case _:
            raise AssertionError(f"no way to end an attempt with {outcome!r}")
