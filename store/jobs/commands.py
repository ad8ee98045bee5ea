"""Commands on jobs: submit, find, cancel, pause, resume, retry, prioritize.

Also exports the writes of a running attempt (`store.jobs.attempts`, `recording`) and `store.jobs.acquire`.
"""

from collections.abc import Sequence
from typing import Any, Literal

from sqlalchemy import select
from sqlalchemy.orm import Session, joinedload

from store.catalog import annotations, datasets
from store.db import (
    FINAL_STATUSES,
    PRIORITIES,
    Dataset,
    Job,
    Page,
    Project,
    Study,
    User,
    WrongStatus,
    database_now,
    lock,
    mark_changed,
    newest_first,
    note,
    transition,
)
from store.hosts import footprints
from store.jobs import limits
from store.jobs.acquire import AssignedDevice, Assignment, Settled, acquire
from store.jobs.attempts import Renewed, end_attempt, fail, finish, renew
from store.jobs.creation import NewJob, Submission, accept
from store.jobs.recording import (
    record_checkpoint,
    record_diagnosis,
    record_epoch,
    record_epochs,
    record_evaluation,
    record_file,
    record_log,
    record_start,
    record_step,
)

__all__ = [
    "AssignedDevice",
    "Assignment",
    "NewJob",
    "Renewed",
    "Settled",
    "acquire",
    "create",
    "end_attempt",
    "fail",
    "find",
    "finish",
    "list_jobs",
    "prioritize",
    "record_checkpoint",
    "record_diagnosis",
    "record_epoch",
    "record_epochs",
    "record_evaluation",
    "record_file",
    "record_log",
    "record_start",
    "record_step",
    "renew",
    "request_action",
    "resume",
    "retry",
]

RequestedAction = Literal["cancel", "pause", "preempt"]

_RETRIED = ("failed", "cancelled")


def create(
    session: Session, owner: User, project: str, dataset: Dataset, new: Sequence[NewJob]
) -> list[Job]:
    """Accept jobs without a study on one dataset; raises as `creation.accept`."""
    return accept(session, [Submission(owner, project, dataset, one) for one in new])


def find(session: Session, job_id: int) -> Job | None:
    """The job with its owner and project."""
    return session.scalars(_loaded().where(Job.id == job_id)).one_or_none()


def list_jobs(
    session: Session,
    *,
    owner: str | None = None,
    project: str | None = None,
    study_id: int | None = None,
    status: str | None = None,
    variant: str | None = None,
    kind: str | None = "training",
    tag: str | None = None,
    archived: bool = True,
    cursor: str | None = None,
    limit: int = 50,
) -> Page[Job]:
    """Newest first; `owner` and `project` are names; `archived`: those, too. Raises BadCursor."""
    filters = {
        Job.kind: kind,
        User.name: owner,
        Project.name: project,
        Job.study_id: study_id,
        Job.status: status,
        Job.variant: variant,
    }
    statement = (
        _loaded()
        .join(User, User.id == Job.owner_id)
        .outerjoin(Project, Project.id == Job.project_id)
        .outerjoin(Study, Study.id == Job.study_id)
        .where(*(column == value for column, value in filters.items() if value is not None))
    )
    if tag is not None:
        statement = statement.where(annotations.is_tagged(tag))
    if not archived:
        statement = statement.where(~annotations.is_archived())
    return newest_first(session, statement, Job.id, cursor, limit)


def request_action(session: Session, job: Job, action: RequestedAction, who: str) -> None:
    """Cancel, pause or preempt: at once where nothing runs, else the running attempt is asked to.

    A request to cancel is not weakened by a later one. Raises WrongStatus for a job in a final status, and
    for preempting one that doesn't run.
    """
    job = lock(session, job.id)
    match job.status, action:
        case "running", _:
            # Only noted: the worker reads it with its next renewal, writes a checkpoint if there is to be
            # one, and ends the attempt itself. Ending it here would leave a training on the device without a
            # lease.
            if job.requested_action != "cancel":
                job.requested_action, job.requested_by = action, who
                mark_changed(session, job)
        case (("queued" | "paused"), "cancel"):
            transition(session, job, "cancelled", who=who, why="cancelled", reason="cancelled")
        case "queued", "pause":
            transition(session, job, "paused", who=who, why="paused")
        case "paused", "pause":
            pass
        case _:
            raise WrongStatus(f"cannot {action} job {job.id}: it is {job.status}")


def resume(session: Session, job: Job, who: str) -> None:
    """Re-queue a paused job, or withdraw the request to pause a running one; raises WrongStatus for others.

    Limits don't concern it: it was accepted when it was submitted.
    """
    job = lock(session, job.id)
    if job.status == "running" and job.requested_action == "pause":
        job.requested_action = job.requested_by = None
        mark_changed(session, job)
    elif job.status == "paused":
        # The wait begins again. Aging counts from here, and hours in which nobody wanted the job to run shall
        # not lift it over those that were waiting. (An attempt that was lost keeps its place: see
        # `end_attempt`.)
        job.queued_at = database_now(session)
        transition(session, job, "queued", who=who, why="resumed")
    else:
        raise WrongStatus(f"cannot resume job {job.id}: it is {job.status}")


def retry(session: Session, job: Job, who: str, *, is_admitted: bool = False) -> None:
    """Re-queue a failed or cancelled job, with its full number of attempts and its full time limit.

    It resumes from its last checkpoint. Raises WrongStatus for any other job, and LimitReached, unless
    `limits.admit_again` has been asked for several jobs at once (`is_admitted`).
    """
    if not is_admitted:
        limits.admit_again(session, [job], _RETRIED)
    job = lock(session, job.id)
    if job.status not in _RETRIED:
        raise WrongStatus(f"cannot retry job {job.id}: it is {job.status}")
    datasets.prepare_retry(session, job)
    # Attempts and seconds are counted from here on. `attempt` itself is never set back: it is the fence, and
    # a number that were given out twice would let a forgotten process of an earlier attempt write again.
    job.attempt_base = job.attempt
    job.seconds_used = 0.0
    job.error = None
    footprints.restore(job)
    job.queued_at = database_now(session)
    transition(session, job, "queued", who=who, why="retried")


def prioritize(session: Session, job: Job, priority: str, who: str) -> None:
    """Change the priority class of a job that hasn't ended; raises WrongStatus for one that has.

    A running job keeps its device: the class counts once it waits again. Setting the same class changes
    nothing.
    """
    job = lock(session, job.id)
    if job.status in FINAL_STATUSES:
        raise WrongStatus(f"cannot change the priority of job {job.id}: it is {job.status}")
    level = PRIORITIES.index(priority)
    if level != job.priority:
        why = f"priority changed from {PRIORITIES[job.priority]} to {priority}"
        job.priority = level
        note(session, job, who=who, why=why)


def _loaded() -> Any:
    return select(Job).options(joinedload(Job.owner), joinedload(Job.project))
