"""Jobs: submit, list, read, annotate, cancel, pause, resume, retry."""

from collections.abc import Sequence
from functools import partial
from typing import Annotated, Any, Protocol

from fastapi import APIRouter, Depends, Query, Response, status
from sqlalchemy.orm import Session

from api.admission import plan_job
from api.http import (
    Archived,
    AuditTrail,
    Document,
    Filter,
    Fresh,
    Id,
    NotFound,
    Once,
    Overridden,
    Page,
    Writer,
    describe_body,
    ensure_own,
    get_current_user,
    parse,
)
from api.schemas import AnnotationChange, JobStatus, JobView, Listing, PriorityChange, WaitView
from api.services import Services, ServicesDep
from runtime.tracing import current_context
from store.access import everything
from store.catalog import annotations
from store.db import Job, Overtaken, User
from store.jobs import (
    HINDRANCES,
    Submission,
    WaitReason,
    commands,
    limits,
    obstacles,
)
from store.mlflow import links, mirror_problems
from store.results import start_estimates
from studies.planning import read_line
from trainer.spec import JobSpec

router = APIRouter(prefix="/jobs", tags=["jobs"], dependencies=[Depends(get_current_user)])


class JobChange(Protocol):
    """One of `store.jobs.commands`, with its other arguments given."""

    def __call__(self, session: Session, job: Job, *, who: str) -> None: ...


@router.post(
    "",
    status_code=status.HTTP_202_ACCEPTED,
    response_model=JobView,
    openapi_extra=describe_body(JobSpec),
    summary="Submit a job",
)
def submit_job(
    services: ServicesDep, user: Writer, document: Overridden, once: Once, fresh: Fresh = False
) -> Response:
    """The job is committed before the response is sent: it reaches exactly one final status, whatever crashes."""
    # Before the check, which may take seconds: a repeated request is usually one whose answer was lost, and
    # gets it again at once.
    if earlier := once.earlier_answer():
        return earlier
    plan = plan_job(services, user, document)
    [new] = plan.cells(fresh=fresh)
    [dataset] = plan.datasets.values()

    def remember(session: Session, job: Job) -> None:
        once.remember(session, JobView.of(job))

    try:
        job = services.intake.accept(
            Submission(
                user,
                new.spec.project,
                dataset,
                new,
                remember if once.has_key else None,
                current_context.get(),
            )
        )
    except Overtaken:
        # An equal request was accepted meanwhile: nothing of this one was.
        if earlier := once.earlier_answer():
            return earlier
        raise
    services.waker.wake()
    return once.respond(JobView.of(job))


@router.get("", summary="List jobs, newest first")
def list_jobs(
    services: ServicesDep,
    page: Page,
    project: Filter = None,
    study: Annotated[int | None, Query(ge=1, le=2**63 - 1)] = None,
    status: JobStatus | None = None,
    variant: Filter = None,
    owner: Filter = None,
    tag: Filter = None,
    archived: Archived = False,
) -> Listing[JobView]:
    """Archived jobs are left out unless `archived` is set or `study` names their study."""
    with services.sessions.begin() as session:
        listing = commands.list_jobs(
            session,
            project=project,
            tag=tag,
            archived=archived or study is not None,
            study_id=study,
            status=status,
            variant=variant,
            owner=owner,
            cursor=page.cursor,
            limit=page.limit,
        )
        return Listing(
            items=build_job_views(services, session, listing.items), next_cursor=listing.next_cursor
        )


@router.get("/{job_id}", summary="Read a job")
def read_job(services: ServicesDep, job_id: Id) -> JobView:
    with services.sessions.begin() as session:
        return _build_view(services, session, job_id)


@router.patch(
    "/{job_id}", openapi_extra=describe_body(AnnotationChange), summary="Tag, note or archive a job"
)
def annotate_job(
    services: ServicesDep, user: Writer, trail: AuditTrail, job_id: Id, document: Document
) -> JobView:
    """An archived job is left out of lists; nothing is deleted."""
    change = parse(AnnotationChange, document)
    with services.sessions.begin() as session:
        job = find_job(session, job_id)
        ensure_own(user, job.owner, f"job {job_id}", job.project_id)
        annotations.annotate_job(session, job_id, annotations.Annotation(**dict(change)))
        trail.note(session, "job.annotated", f"j{job_id}", **change.model_dump(exclude_unset=True))
        return _build_view(services, session, job_id)


@router.post("/{job_id}/cancel", summary="Cancel a job")
def cancel_job(services: ServicesDep, user: Writer, job_id: Id) -> JobView:
    return _change(services, user, job_id, partial(commands.request_action, action="cancel"))


@router.post(
    "/{job_id}/pause", summary="Pause a job: it saves a checkpoint and releases its device"
)
def pause_job(services: ServicesDep, user: Writer, job_id: Id) -> JobView:
    return _change(services, user, job_id, partial(commands.request_action, action="pause"))


@router.post("/{job_id}/resume", summary="Resume a paused job from its last checkpoint")
def resume_job(services: ServicesDep, user: Writer, job_id: Id) -> JobView:
    return _change(services, user, job_id, commands.resume)


@router.post("/{job_id}/retry", summary="Retry a failed or cancelled job")
def retry_job(services: ServicesDep, user: Writer, job_id: Id) -> JobView:
    return _change(services, user, job_id, commands.retry)


@router.post(
    "/{job_id}/priority",
    openapi_extra=describe_body(PriorityChange),
    summary="Change a job's priority",
)
def prioritize_job(services: ServicesDep, user: Writer, job_id: Id, document: Document) -> JobView:
    """The priority applies whenever the job is queued; a running job keeps its device."""
    priority = parse(PriorityChange, document).priority
    ensure_priority(services, user, priority)
    return _change(services, user, job_id, partial(commands.prioritize, priority=priority))


def ensure_priority(services: Services, user: User, priority: str) -> None:
    """Raises `Forbidden` if this person may not ask for it."""
    with services.readers() as session:
        limits.ensure_priority(session, user, priority)


def find_job(session: Session, job_id: int) -> Job:
    """Raises `NotFound`."""
    job = commands.find(session, job_id)
    if job is None:
        raise NotFound(f"there is no job {job_id}")
    return job


def build_job_views(services: Services, session: Session, found: Sequence[Job]) -> list[JobView]:
    """With the links of those that MLflow has, and what it lacks."""
    base, ids = services.settings.mlflow_url, [job.id for job in found]
    urls = links.job_urls(session, base, ids) if base else {}
    problems = mirror_problems.of_jobs(session, ids)
    return [JobView.of(job, urls.get(job.id), problems.get(job.id, ())) for job in found]


def _change(services: Services, user: User, job_id: int, change: JobChange) -> JobView:
    """Does it to a job that is the user's to change, and wakes who may now have something to do."""
    with services.sessions.begin() as session:
        job = find_job(session, job_id)
        ensure_own(user, job.owner, f"job {job_id}", job.project_id)
        change(session, job, who=user.name)
        session.flush()
        answer = _build_view(services, session, job_id)
    services.waker.wake()
    return answer


def _build_view(services: Services, session: Session, job_id: int) -> JobView:
    job = find_job(session, job_id)
    [view] = build_job_views(services, session, [job])
    return view.model_copy(update=explain_wait(session, job))


def explain_wait(session: Session, job: Job) -> dict[str, Any]:
    """`waiting` and `obstacle` of its view."""
    if job.status == "paused":
        detail = "paused: it waits until it is resumed"
        return {"waiting": WaitView.outside(WaitReason.PAUSED, detail)}
    if job.status != "queued":
        return {}
    if job.waits_for is not None:
        detail = obstacles.describe_equal(job.waits_for)
        return {"waiting": WaitView.outside(WaitReason.EQUAL, detail), "obstacle": detail}
    with everything(session):
        return _explain_place(session, job)


def _explain_place(session: Session, job: Job) -> dict[str, Any]:
    line = read_line(session)
    place = next((one for one in line.places if one.waiting.job.id == job.id), None)
    if place is None:
        # It may have been claimed since it was read.
        session.refresh(job, ["status", "waits_for"])
        if job.status != "queued":
            return {}
        expected_at = start_estimates.expected_at(session, job.id)
        waiting = WaitView.beyond(len(line.places), expected_at)
        return {"waiting": waiting, "obstacle": obstacles.find_obstacle(session, job)}
    waiting = WaitView.at(place, line.at)
    # Only what is wrong, beside limits and the jobs ahead.
    hosts = [place.why] if place.reason in HINDRANCES else []
    filled = obstacles.last_full_disk(session, job)
    if filled and place.reason is WaitReason.STARTING:
        why = {"reason": WaitReason.NO_SPACE, "detail": "; ".join(filled)}
        waiting = waiting.model_copy(update=why)
    return {"waiting": waiting, "obstacle": "; ".join([*filled, *hosts]) or None}
