"""What a running attempt writes, each write fenced: it raises LostLease once the job is no longer its own.

`seconds_used` is the attempt's own training time so far, in seconds; the job's is the sum.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Literal

from sqlalchemy import delete, func, insert, select, update
from sqlalchemy.dialects import postgresql
from sqlalchemy.orm import Session

from store import retention
from store.claims import worker_name
from store.engine import JOBS_CHANNEL, database_now, notify
from store.errors import LostLease
from store.finite import split_finite, storable
from store.lifecycle import lock_attempt, move, touch
from store.models import (
    COUNTED_ENDS,
    Attempt,
    Checkpoint,
    Epoch,
    File,
    Job,
    Lease,
    LogLine,
)
from trainer.events import (
    CheckpointSaved,
    EpochFinished,
    EvaluationFinished,
    FileWritten,
    Reason,
    Started,
)

#: The metrics with a column of their own; others go to `extra`.
STANDARD_METRICS = (
    "train_loss", "train_cost", "train_accuracy", "val_loss", "val_accuracy", "learning_rate",
)  # fmt: skip

End = Literal["lost", "preempted", "drained", "paused", "cancelled", "stalled", "oom", "error"]
FailureReason = Literal["timeout", "oom", "disk", "error"]


@dataclass(frozen=True, slots=True)
class Renewed:
    """The lease was renewed; `wish`: `cancel`, `pause`, `preempt` or None."""

    wish: str | None


def renew(
    session: Session, job_id: int, attempt: int, lease_seconds: float, seconds_used: float
) -> Renewed:
    """Prolong the lease by the database's clock, also one that ran out but was not yet swept."""
    job = lock_attempt(session, job_id, attempt)
    expires_at = func.clock_timestamp() + timedelta(seconds=lease_seconds)
    renewed = session.execute(
        update(Lease)
        .where(Lease.job_id == job_id, Lease.attempt == attempt)
        .values(expires_at=expires_at)
        .returning(Lease.id)
    ).all()
    if not renewed:
        raise LostLease(job_id, attempt)
    _add_seconds(session, job, seconds_used)
    session.flush()
    return Renewed(wish=job.wish)


def record_start(session: Session, job_id: int, attempt: int, event: Started) -> None:
    """Where the attempt starts and in which environment; one that differs from before is a warning."""
    job = lock_attempt(session, job_id, attempt)
    warnings = [*job.warnings, *event.warnings, *_environment_changes(session, job, event)]
    job.warnings = list(dict.fromkeys(warnings))
    job.step = event.first_step
    job.total_steps = event.total_steps
    row = session.get_one(Attempt, (job_id, attempt))
    row.first_step = event.first_step
    row.environment = dict(event.environment)
    touch(session, job)


def record_step(session: Session, job_id: int, attempt: int, step: int) -> None:
    """How far the training is; an unchanged step changes nothing."""
    job = lock_attempt(session, job_id, attempt)
    if step != job.step:
        job.step = step
        touch(session, job)


def record_epoch(
    session: Session,
    job_id: int,
    attempt: int,
    event: EpochFinished,
    recorded_at: datetime | None = None,
) -> None:
    """An epoch is recorded once: a later attempt that repeats it after a checkpoint changes nothing."""
    job = lock_attempt(session, job_id, attempt)
    finite, non_finite = split_finite(event.metrics)
    row: dict[str, Any] = {
        "job_id": job_id,
        "attempt": attempt,
        "epoch": event.epoch,
        "step": event.step,
        "seconds": event.seconds,
        "recorded_at": recorded_at or func.clock_timestamp(),
        "non_finite": non_finite,
        **{name: finite.pop(name, None) for name in STANDARD_METRICS},
        "extra": finite,
    }
    session.execute(postgresql.insert(Epoch).values(row).on_conflict_do_nothing())
    job.step = event.step
    touch(session, job)


def record_checkpoint(
    session: Session, job_id: int, attempt: int, event: CheckpointSaved
) -> list[str]:
    """From now on the file counts; returns the paths that no row names any more, to be deleted.

    `event.path` is relative to the storage. The two newest `last` are kept, and the best that each of
    them would go on from.
    """
    job = lock_attempt(session, job_id, attempt)
    # Replaced, not updated: the newest row has the highest id.
    session.execute(
        delete(Checkpoint).where(Checkpoint.job_id == job_id, Checkpoint.path == event.path)
    )
    values = {
        "job_id": job_id,
        "attempt": attempt,
        "kind": event.kind,
        "epoch": event.epoch,
        "step": event.step,
        "path": event.path,
        "digest": event.digest,
        "bytes": event.bytes,
    }
    session.execute(insert(Checkpoint).values(values))
    obsolete = retention.drop_obsolete_checkpoints(session, job_id)
    touch(session, job)
    return obsolete


def record_evaluation(
    session: Session, job_id: int, attempt: int, event: EvaluationFinished
) -> None:
    """The first committed result stands; file paths are relative to the storage."""
    job = lock_attempt(session, job_id, attempt)
    _keep_metrics(job, event.metrics)
    _add_files(session, job_id, event.files)
    touch(session, job)


def record_file(session: Session, job_id: int, attempt: int, event: FileWritten) -> None:
    """A file of the job, its path relative to the storage; the first of a name stands."""
    job = lock_attempt(session, job_id, attempt)
    _add_files(session, job_id, [event])
    touch(session, job)


def record_log(
    session: Session, job_id: int, attempt: int, lines: Sequence[tuple[str, str]]
) -> None:
    """Lines for the job's log, each a level and a text. Announced, but no change of the job."""
    lock_attempt(session, job_id, attempt)
    session.add_all(
        LogLine(job_id=job_id, attempt=attempt, level=level, text=storable(text))
        for level, text in lines
    )
    session.flush()
    notify(session, JOBS_CHANNEL, str(job_id))


def finish(
    session: Session,
    job_id: int,
    attempt: int,
    *,
    reason: Reason,
    metrics: dict[str, float] | None = None,
    seconds_used: float | None = None,
) -> Job:
    """The job succeeded (a diverged one, too): its metrics are final, its slots are free."""
    job = lock_attempt(session, job_id, attempt)
    host = _end(session, job, "completed", None, seconds_used, counts=False)
    _keep_metrics(job, metrics or {})
    move(session, job, "succeeded", who=worker_name(host), why=reason, reason=reason)
    return job


def fail(
    session: Session,
    job_id: int,
    attempt: int,
    reason: FailureReason,
    error: str,
    *,
    seconds_used: float | None = None,
) -> Job:
    """The job failed for good, whatever attempts are left: another would end the same way."""
    job = lock_attempt(session, job_id, attempt)
    end = "oom" if reason == "oom" else "error"
    host = _end(session, job, end, error, seconds_used, counts=True)
    move(session, job, "failed", who=worker_name(host), why=reason, reason=reason, error=error)
    return job


def end_attempt(
    session: Session,
    job_id: int,
    attempt: int,
    end: End,
    *,
    error: str | None = None,
    seconds_used: float | None = None,
    counts: bool | None = None,
    who: str | None = None,
) -> Job:
    """End the attempt but not (unless it was wished or the attempts are used up) the job.

    `lost, stalled, oom, error` count towards the job's limit, unless `counts` says otherwise (a loss that
    an outage of the database caused). A job that goes on keeps its `queued_at`, and so stands at the head
    of its line. A wish to cancel or to pause is fulfilled by any end.
    """
    job = lock_attempt(session, job_id, attempt)
    counted = end in COUNTED_ENDS if counts is None else counts
    host = _end(session, job, end, error, seconds_used, counts=counted)
    signed = who or worker_name(host)
    if end == "cancelled" or job.wish == "cancel":
        by = job.wished_by or signed
        move(session, job, "cancelled", who=by, why=f"attempt {end}", reason="cancelled")
    elif counted and _counted_attempts(session, job) >= job.max_attempts:
        reason = "oom" if end == "oom" else "error"
        text = error or f"attempt {attempt} on {host}: {end}"
        why = f"attempt {attempt} {end}; no attempt is left of {job.max_attempts}"
        move(session, job, "failed", who=signed, why=why, reason=reason, error=text)
    elif job.wish == "pause":
        by = job.wished_by or signed
        move(session, job, "paused", who=by, why=f"attempt {end}")
    else:
        # Also a paused attempt whose job was resumed before it had stopped.
        move(session, job, "queued", who=signed, why=f"attempt {attempt} {end}")
    return job


def _end(
    session: Session,
    job: Job,
    end: str,
    error: str | None,
    seconds_used: float | None,
    *,
    counts: bool,
) -> str:
    """Close the attempt's row and give its slots back; returns the host it ran on."""
    if seconds_used is not None:
        _add_seconds(session, job, seconds_used)
    row = session.get_one(Attempt, (job.id, job.attempt))
    # Asked first: the question itself would write a row that has ended but knows no time.
    row.ended_at, row.end = database_now(session), end
    row.error = None if error is None else storable(error)
    row.counts = counts
    session.execute(delete(Lease).where(Lease.job_id == job.id, Lease.attempt == job.attempt))
    session.flush()
    return row.host


def _counted_attempts(session: Session, job: Job) -> int:
    statement = select(func.count()).where(
        Attempt.job_id == job.id, Attempt.number > job.attempt_base, Attempt.counts
    )
    return session.scalars(statement).one()


def _add_seconds(session: Session, job: Job, seconds_used: float) -> None:
    """Bring the attempt's time up to `seconds_used`; hearing the same number again adds nothing."""
    row = session.get_one(Attempt, (job.id, job.attempt), populate_existing=True)
    more = max(0.0, seconds_used - row.seconds)
    row.seconds += more
    job.seconds_used += more


def _keep_metrics(job: Job, metrics: dict[str, float] | Any) -> None:
    finite, non_finite = split_finite(metrics)
    new = {name for name in finite if name not in job.metrics}
    job.metrics = job.metrics | {name: finite[name] for name in new}
    job.non_finite = job.non_finite | {name: non_finite[name] for name in new if name in non_finite}


def _add_files(session: Session, job_id: int, files: Sequence[FileWritten]) -> None:
    rows = [
        {"job_id": job_id, "name": f.name, "path": f.path, "digest": f.digest, "bytes": f.bytes}
        for f in files
    ]
    if rows:
        session.execute(postgresql.insert(File).values(rows).on_conflict_do_nothing())


def _environment_changes(session: Session, job: Job, event: Started) -> list[str]:
    before = session.scalars(
        select(Attempt.environment)
        .where(
            Attempt.job_id == job.id,
            Attempt.number < job.attempt,
            Attempt.environment.is_not(None),
        )
        .order_by(Attempt.number.desc())
        .limit(1)
    ).one_or_none()
    if not before:
        return []
    now = event.environment
    return [
        f"the environment changed before attempt {job.attempt}: "
        f"{name} {before.get(name)} → {now.get(name)}"
        for name in sorted(before.keys() | now.keys())
        if before.get(name) != now.get(name)
    ]
