"""Control of all jobs of a study at once: cancel, pause, resume, retry, priority."""

import contextlib
from collections.abc import Callable, Sequence
from functools import partial
from typing import Annotated

from fastapi import APIRouter, Depends, Query
from sqlalchemy.orm import Session

from api.http import Conflict, Document, Id, Writer, describe_body, get_current_user, parse
from api.routes.jobs import JobChange, ensure_priority
from api.routes.studies import build_study_views, find_own_study, find_study
from api.schemas import PriorityChange, StudyView
from api.services import Services, ServicesDep
from store.db import Job, User, WrongStatus
from store.jobs import commands, limits
from store.studies import studies

router = APIRouter(prefix="/studies", tags=["studies"], dependencies=[Depends(get_current_user)])


@router.post("/{study_id}/cancel", summary="Cancel all unfinished jobs of a study")
def cancel_study(services: ServicesDep, user: Writer, study_id: Id) -> StudyView:
    return _change(
        services,
        user,
        study_id,
        ("queued", "running", "paused"),
        partial(commands.request_action, action="cancel"),
    )


@router.post("/{study_id}/pause", summary="Pause all queued and running jobs of a study")
def pause_study(services: ServicesDep, user: Writer, study_id: Id) -> StudyView:
    return _change(
        services,
        user,
        study_id,
        ("queued", "running"),
        partial(commands.request_action, action="pause"),
    )


@router.post(
    "/{study_id}/resume", summary="Resume a study's paused jobs from their last checkpoints"
)
def resume_study(services: ServicesDep, user: Writer, study_id: Id) -> StudyView:
    return _change(services, user, study_id, ("paused", "running"), commands.resume)


@router.post("/{study_id}/retry", summary="Retry a study's failed jobs")
def retry_study(
    services: ServicesDep,
    user: Writer,
    study_id: Id,
    cancelled: Annotated[bool, Query(description="include cancelled jobs")] = False,
) -> StudyView:
    statuses = ("failed", "cancelled") if cancelled else ("failed",)
    admit = partial(limits.admit_again, statuses=statuses)
    change = partial(commands.retry, is_admitted=True)
    return _change(services, user, study_id, statuses, change, admit)


@router.post(
    "/{study_id}/priority",
    openapi_extra=describe_body(PriorityChange),
    summary="Change the priority of a study's unfinished jobs",
)
def prioritize_study(
    services: ServicesDep, user: Writer, study_id: Id, document: Document
) -> StudyView:
    """Jobs added later get the priority in the spec."""
    priority = parse(PriorityChange, document).priority
    ensure_priority(services, user, priority)
    change = partial(commands.prioritize, priority=priority)
    return _change(services, user, study_id, ("queued", "paused", "running"), change)


def _change(
    services: Services,
    user: User,
    study_id: int,
    statuses: Sequence[str],
    change: JobChange,
    admit: Callable[[Session, Sequence[Job]], None] | None = None,
) -> StudyView:
    """Does it to the study's jobs in these statuses; raises `Conflict` when there is none.

    `admit` raises an error if it may not be done to all of them.
    """
    with services.sessions.begin() as session:
        find_own_study(session, user, study_id)
        jobs = studies.jobs_of(session, study_id)
        if admit is not None and jobs:
            admit(session, jobs)
        changed = 0
        # All in one transaction, so that a study is never half cancelled; and in the order of ids, like
        # everything that locks several jobs.
        for job in jobs:
            # A job may change, or have nothing to take back, before its turn comes.
            with contextlib.suppress(WrongStatus):
                if job.status in statuses:
                    change(session, job, who=user.name)
                    changed += 1
        if not changed:
            raise Conflict(f"study {study_id} has no job that is {' or '.join(statuses)}")
        answer = build_study_views(services, session, [find_study(session, study_id)])[0]
    # After the commit, or a worker could look before there is anything to see.
    services.waker.wake()
    return answer
