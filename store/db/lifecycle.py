"""The one place where a job's status changes: under its row's lock, recorded as a transition, announced.

Every change of a job holds its row's lock, so that changes are serialized.
"""

from collections.abc import Sequence
from datetime import datetime
from functools import cache
from typing import Any

from sqlalchemy import ColumnElement, Select, and_, bindparam, insert, or_, select, update
from sqlalchemy.orm import Session, SessionTransaction, joinedload

from store.db.engine import CLOCK_AND_NOTIFY, notify_job, notify_jobs
from store.db.errors import LostLease, NotFound
from store.db.models import FINAL_STATUSES, Dataset, EndedJob, Job, Transition, Webhook
from store.db.nonfinite import sanitize_text

#: Where a session keeps the job whose row it locked last, and the transaction in which it did.
_HELD = "locked job"


def lock(session: Session, job_id: int) -> Job:
    """The current row of the job, locked until the transaction ends; raises NotFound."""
    job = session.scalars(_locked(), {"id": job_id}).one_or_none()
    if job is None:
        raise NotFound(f"there is no job {job_id}")
    return job


def lock_attempt(session: Session, job_id: int, attempt: int) -> Job:
    """The fence: the job's row, locked, if this attempt still runs it; raises LostLease.

    Asked again in the same transaction it costs nothing: the row is still locked, so that nobody else has changed it.
    """
    held: tuple[SessionTransaction | None, Job] | None = session.info.get(_HELD)
    # Not in a savepoint, whose end may let go of what was locked in it.
    is_held = held is not None and held[0] is session.get_transaction()
    if held is not None and is_held and not session.in_nested_transaction():
        job = held[1]
        if (job.id, job.attempt, job.status) == (job_id, attempt, "running"):
            return job
    locked = session.scalars(_fenced(), {"id": job_id, "attempt": attempt}).one_or_none()
    if locked is None:
        raise LostLease(job_id, attempt)
    if not session.in_nested_transaction():
        session.info[_HELD] = session.get_transaction(), locked
    return locked


def record_created(session: Session, jobs: Sequence[Job], who: str) -> None:
    """Record that these jobs exist from now on; they must have their ids."""
    session.add_all(
        Transition(job_id=job.id, who=who, from_status=None, to_status=job.status, why="submitted")
        for job in jobs
    )
    notify_jobs(session, [job.id for job in jobs])


def record_answered(session: Session, study_id: int) -> None:
    """Add to the outbox that jobs of this study had ended when they were made."""
    ended = select(Job.id).where(Job.study_id == study_id, Job.status.in_(FINAL_STATUSES))
    # One stands for all: they are there at the same moment.
    answered = ended.where(_is_awaited()).limit(1)
    session.execute(insert(EndedJob).from_select(["job_id"], answered))


def transition(
    session: Session,
    job: Job,
    status: str,
    *,
    who: str,
    why: str,
    reason: str | None = None,
    error: str | None = None,
) -> None:
    """Change the status of a locked job; this fulfils or ends any requested action. An error of None keeps the last."""
    values = {
        "job": str(job.id),
        "job_id": job.id,
        "who": who,
        "from_status": job.status,
        "to_status": status,
        "why": sanitize_text(why),
    }
    # What is pending is written once it is complete, at the end.
    with session.no_autoflush:
        now: datetime = session.execute(_noted(), values).one()[0]
    job.status = status
    job.reason = reason
    # Whatever was requested is done with: an attempt that ends by itself just before it hears of a pause must
    # not leave the request to the next attempt.
    job.requested_action = job.requested_by = None
    job.waits_for = None
    if error is not None:
        job.error = sanitize_text(error)
    job.finished_at = now if status in FINAL_STATUSES else None
    job.changed_at = now
    session.flush()
    # In the same transaction: the jobs that wait for the dataset are never seen waiting for a registration
    # that has ended, and each gets its final status.
    if job.kind == "dataset" and status == "cancelled":
        fail_dataset(session, job.dataset_id, "its registration was cancelled")
    if job.kind == "dataset" and status == "failed":
        fail_dataset(session, job.dataset_id, in_words(job.error or why))


def in_words(error: str) -> str:
    """An error without its stack trace: the exception at the end of a traceback, or the sentence before a
    stack. The job keeps the whole text."""
    lines = error.strip().splitlines()
    stack = [at for at, line in enumerate(lines) if line.startswith("  ")]
    if not any(lines[at].startswith('  File "') for at in stack):
        return error
    words = lines[stack[-1] + 1 :] or lines[: stack[0]]
    return "\n".join(words).removesuffix(" It was here:")


def note(session: Session, job: Job, *, who: str, why: str) -> None:
    """Audit a change of a locked job that leaves its status as it is."""
    session.add(
        Transition(
            job_id=job.id,
            who=who,
            from_status=job.status,
            to_status=job.status,
            why=sanitize_text(why),
        )
    )
    mark_changed(session, job)


def mark_changed(session: Session, job: Job) -> None:
    """Set `changed_at` of a locked job, and announce the change."""
    # Not now(): that is when the transaction began, and one that waited for the lock would set it back.
    job.changed_at = notify_job(session, job.id)
    session.flush()


def fail_dataset(session: Session, dataset_id: int, error: str) -> None:
    """Fail the registration of a dataset, and the jobs that wait for it: each must reach a final status."""
    failed = session.execute(
        update(Dataset)
        .where(Dataset.id == dataset_id, Dataset.status == "registering")
        .values(status="failed", error=sanitize_text(error))
        .returning(Dataset.name)
    ).scalar_one_or_none()
    if failed is None:
        return
    waiting = select(Job.id).where(
        Job.dataset_id == dataset_id, Job.kind == "training", Job.status.in_(("queued", "paused"))
    )
    # In the order of ids, as everywhere where several jobs are locked, against deadlocks. Read again under
    # the lock, since somebody may have cancelled the job meanwhile.
    for job_id in session.scalars(waiting.order_by(Job.id)).all():
        job = lock(session, job_id)
        if job.status not in ("queued", "paused"):
            continue
        why = f"dataset {failed} could not be registered: {error}"
        transition(session, job, "failed", who="system", why=why, reason="error", error=why)


@cache
def _noted() -> Select[datetime, Any]:
    """A transition, its announcement and the database's clock, the end of the wait of those that waited for the
    job (`store.reuse`), and a row of the outbox where a webhook concerns the job, in one statement."""
    given = (
        Transition.job_id,
        Transition.who,
        Transition.from_status,
        Transition.to_status,
        Transition.why,
    )
    row = select(*(bindparam(column.key, type_=column.type) for column in given))
    noted = insert(Transition).from_select([column.key for column in given], row)
    # One that is being changed is passed over, and left to the sweep: who changes it may wait for this job.
    waiting = (
        select(Job.id)
        .where(Job.waits_for == bindparam("job_id"))
        .with_for_update(skip_locked=True, key_share=True)
    )
    released = update(Job).where(Job.id.in_(waiting)).values(waits_for=None)
    status = bindparam("to_status", type_=Transition.to_status.type)
    is_reported = or_(
        status == "failed", and_(status.in_(FINAL_STATUSES), Job.study_id.is_not(None))
    )
    ended = select(Job.id).where(Job.id == bindparam("job_id"), is_reported, _is_awaited())
    told = insert(EndedJob).from_select(["job_id"], ended)
    ctes = noted.cte("noted"), released.cte("released"), told.cte("told")
    return CLOCK_AND_NOTIFY.add_cte(*ctes)


def _is_awaited() -> ColumnElement[bool]:
    """Whether a webhook concerns the job of the statement, or its study."""
    concerns_all = and_(Webhook.study_id.is_(None), Webhook.project_id.is_(None))
    concerns = or_(
        Webhook.study_id == Job.study_id,
        Webhook.project_id == Job.project_id,
        and_(concerns_all, Webhook.user_id == Job.owner_id),
    )
    return select(Webhook.id).where(concerns).correlate(Job).exists()


@cache
def _fenced() -> Select[Job]:
    # Both conditions: the number alone would let an attempt write after its job has ended, the status alone
    # one that was given up and replaced. PostgreSQL evaluates them again on the newest row once it has the
    # lock, so that one that waited for the sweep sees what the sweep did.
    return _locked().where(Job.attempt == bindparam("attempt"), Job.status == "running")


@cache
def _locked() -> Select[Job]:
    """Made once: to make it takes longer than PostgreSQL takes to answer it."""
    # Rows that only refer to the job (its epochs, its log) may be written meanwhile: hence key_share.
    return (
        select(Job)
        .where(Job.id == bindparam("id"))
        .options(joinedload(Job.owner), joinedload(Job.project))
        .with_for_update(of=Job, key_share=True)
        .execution_options(populate_existing=True)
    )
