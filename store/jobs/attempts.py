"""How an attempt keeps its lease and how it ends. Every write is fenced: LostLease once it no longer holds the job.

`seconds_used` is the attempt's own training time so far, in seconds; the job's is the sum.
"""

from dataclasses import dataclass
from datetime import timedelta
from typing import Literal

from sqlalchemy import ColumnElement, delete, func, select, update
from sqlalchemy.orm import Session

from store.db import (
    COUNTED_ENDS,
    Attempt,
    Job,
    Lease,
    LostLease,
    database_now,
    lock_attempt,
    sanitize_text,
    transition,
)
from store.hosts import footprints, host_health
from store.jobs import usage
from store.jobs.acquire import worker_name
from store.jobs.recording import keep_metrics
from store.reuse import answers
from trainer.events import Reason

End = Literal[
    "lost", "preempted", "drained", "paused", "cancelled", "stalled", "oom", "disk", "error"
]
FailureReason = Literal["timeout", "oom", "disk", "error"]

#: How often the disk may run full under a job, on any hosts, before the job fails.
DISK_TRIES = 5


@dataclass(frozen=True, slots=True)
class Renewed:
    """The lease was renewed; `requested_action`: `cancel`, `pause`, `preempt` or None."""

    requested_action: str | None


def renew(
    session: Session,
    job_id: int,
    attempt: int,
    lease_seconds: float,
    seconds_used: float,
    used_bytes: int | None = None,
) -> Renewed:
    """Prolong the lease by the database's clock, also one that ran out but was not yet swept; `used_bytes`: of its
    GPU's memory now."""
    job = lock_attempt(session, job_id, attempt)
    expires_at = func.clock_timestamp() + timedelta(seconds=lease_seconds)
    renewed = session.execute(
        update(Lease)
        .where(Lease.job_id == job_id, Lease.attempt == attempt)
        .values(expires_at=expires_at, used_bytes=used_bytes)
        .returning(Lease.id)
    ).all()
    # The attempt has not ended but its lease is gone, so its slot may be another's already.
    if not renewed:
        raise LostLease(job_id, attempt)
    _add_seconds(session, job, seconds_used)
    session.flush()
    return Renewed(requested_action=job.requested_action)


def finish(
    session: Session,
    job_id: int,
    attempt: int,
    *,
    reason: Reason,
    metrics: dict[str, float] | None = None,
    seconds_used: float | None = None,
    memory_bytes: int | None = None,
) -> Job:
    """The job succeeded (a diverged one, too): its metrics are final, its slots are free. `memory_bytes`: what it took
    at most, of its GPU or on a CPU of its process."""
    # Raises before anything is written, and keeps the row locked until the commit, so that neither the
    # sweep nor another attempt can end this one in between.
    job = lock_attempt(session, job_id, attempt)
    if memory_bytes is not None and _is_on_gpu(job):
        footprints.keep(session, job_id, memory_bytes)
    row = _end(session, job, "completed", None, seconds_used, counts=False)
    row.memory_bytes = memory_bytes
    keep_metrics(job, metrics or {})
    transition(session, job, "succeeded", who=worker_name(row.host), why=reason, reason=reason)
    if job.hash:
        answers.answer_equals(session, job)
    host_health.forgive(session, row.host, row.instance)
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
    host = _end(session, job, end, error, seconds_used, counts=True).host
    transition(
        session, job, "failed", who=worker_name(host), why=reason, reason=reason, error=error
    )
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
    by_kernel: bool = False,
) -> Job:
    """End the attempt but not (unless that was requested or the attempts are used up) the job.

    `lost, stalled, oom, error` count towards the job's limit, unless `counts` says otherwise (a loss that
    an outage of the database caused). `disk` has a limit of its own, and its host is held; so has `oom` on a GPU, after
    which the job runs once more alone, unless the host's memory was short (`by_kernel`). A job that goes on keeps its `queued_at`, and so is first in the queue of its class; one that was asked to give way keeps the
    time that it had waited. A request to cancel or to pause is fulfilled by any end.
    """
    job = lock_attempt(session, job_id, attempt)
    ran_alone = footprints.is_alone(job)
    is_of_gpu = end == "oom" and not by_kernel and _is_on_gpu(job)
    if is_of_gpu:
        footprints.forget(session, job_id)
        footprints.run_alone(job)
    counted = end in COUNTED_ENDS if counts is None else counts
    row = _end(session, job, end, error, seconds_used, counts=counted)
    host = row.host
    if end == "disk":
        host_health.hold(session, host, row.instance)
    signed = who or worker_name(host)
    why = _why(attempt, end, error)
    # The order of the branches decides. Cancelling comes first: whoever asked for it shall not read that the
    # job failed. The limit comes before pausing: a job without an attempt left that were paused could be
    # resumed beyond its limit.
    if end == "cancelled" or job.requested_action == "cancel":
        by = job.requested_by or signed
        transition(session, job, "cancelled", who=by, why=f"attempt {end}", reason="cancelled")
    elif used_up := _used_up(session, job, end, counted, is_of_gpu and ran_alone):
        reason = end if end in ("oom", "disk") else "error"
        text = error or f"attempt {attempt} on {host}: {end}"
        transition(
            session, job, "failed", who=signed, why=f"{why}; {used_up}", reason=reason, error=text
        )
    elif job.requested_action == "pause":
        by = job.requested_by or signed
        transition(session, job, "paused", who=by, why=f"attempt {end}")
    else:
        if job.requested_action == "preempt":
            why = f"{why} for {job.requested_by}"
            # As if it had not run. With the time since it was submitted it could be raised over the job that it
            # made room for, and take the slot back.
            assert row.ended_at is not None
            job.queued_at += row.ended_at - row.started_at
        # Also a paused attempt whose job was resumed before it had stopped.
        transition(session, job, "queued", who=signed, why=why)
    return job


def _why(attempt: int, end: End, error: str | None) -> str:
    """For the job's history: of a full disk also where and how full."""
    if end == "disk" and error:
        return f"attempt {attempt} disk: {error.splitlines()[0]}"
    return f"attempt {attempt} {end}"


def _is_on_gpu(job: Job) -> bool:
    return job.numerics is not None and job.numerics["device"] == "cuda"


def _used_up(session: Session, job: Job, end: End, counted: bool, is_too_large: bool) -> str | None:
    """The limit that this end has reached, in words; None if there are attempts left. `is_too_large`: for a GPU that it
    had for itself, after it had run out of memory before."""
    if end == "disk":
        tries = _count_attempts(session, job, Attempt.end == "disk")
        words = f"the disk ran full under {tries} attempts (the limit)"
        return words if tries >= DISK_TRIES else None
    if is_too_large:
        return "it ran out of its GPU's memory once more, alone on it (the limit)"
    if counted and _count_attempts(session, job, Attempt.counts.is_(True)) >= job.max_attempts:
        return f"all {job.max_attempts} attempts are used up"
    return None


def _end(
    session: Session,
    job: Job,
    end: str,
    error: str | None,
    seconds_used: float | None,
    *,
    counts: bool,
) -> Attempt:
    """Close the attempt's row and release its slots."""
    if seconds_used is not None:
        _add_seconds(session, job, seconds_used)
    row = session.get_one(Attempt, (job.id, job.attempt))
    row.ended_at, row.end = database_now(session), end
    row.error = None if error is None else sanitize_text(error)
    row.counts = counts
    # In the transaction that ends the attempt: a slot that were freed earlier would be given to a second job
    # while the first still trains, one that were freed later would be lost if the process died in between.
    held = delete(Lease).where(Lease.job_id == job.id, Lease.attempt == job.attempt)
    # The job is written once, with its new status.
    with session.no_autoflush:
        session.execute(held)
        usage.charge(session, job, row)
    return row


def _count_attempts(session: Session, job: Job, condition: ColumnElement[bool]) -> int:
    """Since the job was submitted or retried."""
    statement = select(func.count()).where(
        Attempt.job_id == job.id, Attempt.number > job.attempt_base, condition
    )
    return session.scalars(statement).one()


def _add_seconds(session: Session, job: Job, seconds_used: float) -> None:
    """Raise the attempt's time to `seconds_used`; repeating the same number adds nothing."""
    row = session.get_one(Attempt, (job.id, job.attempt), populate_existing=True)
    # Workers send totals, not differences: a renewal whose commit was done but whose answer was lost is sent
    # again, and would be added twice.
    more = max(0.0, seconds_used - row.seconds)
    row.seconds += more
    job.seconds_used += more
