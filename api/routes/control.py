"""Control of all jobs of a study at once: cancel, pause, resume, retry, priority. And deletion for good: of a job, a study,
a dataset, a project."""

import contextlib
from collections.abc import Callable, Sequence
from functools import partial
from typing import Annotated

from fastapi import APIRouter, Depends, Query, status
from sqlalchemy.orm import Session

from api.http import (
    AuditTrail,
    Conflict,
    Document,
    Forbidden,
    Id,
    NotFound,
    Writer,
    describe_body,
    ensure_own,
    get_current_user,
    may_change,
    parse,
)
from api.routes.datasets import find_dataset
from api.routes.jobs import JobChange, ensure_priority, find_job
from api.routes.studies import find_own_study, find_study
from api.routes.study_views import build_study_views
from api.schemas import PriorityChange, StudyView
from api.services import Services, ServicesDep
from store.catalog import datasets, projects
from store.db import Job, Project, User, WrongStatus
from store.deletions import deleting
from store.jobs import commands, limits
from store.studies import studies

router = APIRouter(dependencies=[Depends(get_current_user)])


@router.post(
    "/studies/{study_id}/cancel", summary="Cancel all unfinished jobs of a study", tags=["studies"]
)
def cancel_study(services: ServicesDep, user: Writer, study_id: Id) -> StudyView:
    return _change(
        services,
        user,
        study_id,
        ("queued", "running", "paused"),
        partial(commands.request_action, action="cancel"),
    )


@router.post(
    "/studies/{study_id}/pause",
    summary="Pause all queued and running jobs of a study",
    tags=["studies"],
)
def pause_study(services: ServicesDep, user: Writer, study_id: Id) -> StudyView:
    return _change(
        services,
        user,
        study_id,
        ("queued", "running"),
        partial(commands.request_action, action="pause"),
    )


@router.post(
    "/studies/{study_id}/resume",
    summary="Resume a study's paused jobs from their last checkpoints",
    tags=["studies"],
)
def resume_study(services: ServicesDep, user: Writer, study_id: Id) -> StudyView:
    return _change(services, user, study_id, ("paused", "running"), commands.resume)


@router.post("/studies/{study_id}/retry", summary="Retry a study's failed jobs", tags=["studies"])
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
    "/studies/{study_id}/priority",
    openapi_extra=describe_body(PriorityChange),
    summary="Change the priority of a study's unfinished jobs",
    tags=["studies"],
)
def prioritize_study(
    services: ServicesDep, user: Writer, study_id: Id, document: Document
) -> StudyView:
    """Jobs added later get the priority in the spec."""
    priority = parse(PriorityChange, document).priority
    ensure_priority(services, user, priority)
    change = partial(commands.prioritize, priority=priority)
    return _change(services, user, study_id, ("queued", "paused", "running"), change)


@router.delete(
    "/jobs/{job_id}",
    status_code=status.HTTP_204_NO_CONTENT,
    summary="Permanently delete a job that has ended",
    tags=["jobs"],
)
def delete_job(services: ServicesDep, user: Writer, trail: AuditTrail, job_id: Id) -> None:
    """Its rows are gone at once, its files and its run in MLflow soon after. Jobs that it answered keep their results
    and files. A job of a study is deleted with its study only."""
    with services.sessions.begin() as session:
        # The answer to an earlier request may have been lost.
        if deleting.was_deleted(session, "job", job_id, _whose(user)):
            return
        job = find_job(session, job_id)
        ensure_own(user, job.owner, f"job {job_id}", job.project_id)
        name = job.name
        deleting.delete_job(session, job_id)
        trail.note(session, "job.deleted", f"j{job_id}", name=name)


@router.delete(
    "/studies/{study_id}",
    status_code=status.HTTP_204_NO_CONTENT,
    summary="Permanently delete a study whose jobs have ended",
    tags=["studies"],
)
def delete_study(services: ServicesDep, user: Writer, trail: AuditTrail, study_id: Id) -> None:
    """With its jobs, verdicts, files and runs in MLflow."""
    with services.sessions.begin() as session:
        if deleting.was_deleted(session, "study", study_id, _whose(user)):
            return
        study = find_study(session, study_id)
        ensure_own(user, study.owner, f"study {study_id}", study.project_id)
        name = study.name
        jobs = deleting.delete_study(session, study_id)
        trail.note(session, "study.deleted", f"s{study_id}", name=name, jobs=jobs)


@router.delete(
    "/datasets/{name}",
    status_code=status.HTTP_204_NO_CONTENT,
    summary="Permanently delete a dataset that no job uses",
    tags=["datasets"],
)
def delete_dataset(services: ServicesDep, user: Writer, trail: AuditTrail, name: str) -> None:
    """What was decoded, not what it was decoded from. The name can be used again."""
    with services.sessions.begin() as session:
        was_deleted = deleting.was_name_deleted(session, "dataset", name, _whose(user))
        if was_deleted and datasets.find(session, name) is None:
            return
        dataset = find_dataset(session, name)
        owner = datasets.owner_names(session, [dataset]).get(dataset.owner_id or 0)
        if owner is not None and not may_change(user, owner):
            raise Forbidden(
                f"dataset {name} belongs to {owner}: only the owner or an admin can delete it"
            )
        deleting.delete_dataset(session, dataset)
        trail.note(session, "dataset.deleted", name)


@router.delete(
    "/projects/{name}",
    status_code=status.HTTP_204_NO_CONTENT,
    summary="Permanently delete a project whose jobs have ended",
    tags=["projects"],
)
def delete_project(services: ServicesDep, user: Writer, trail: AuditTrail, name: str) -> None:
    """With all of its studies and jobs, in several steps: one that is interrupted is completed by another request.
    Members delete a project that holds nothing of others."""
    if (project := _find_deletable(services, user, name)) is None:
        return
    # Meanwhile others may submit to it: what is theirs stays, and the project with it.
    owner_id = _whose(user)
    with services.sessions.begin() as session:
        studies = deleting.studies_of(session, project, owner_id)
    for study_id in studies:
        with services.sessions.begin() as session:
            study_name = find_study(session, study_id).name
            jobs = deleting.delete_study(session, study_id)
            trail.note(
                session, "study.deleted", f"s{study_id}", name=study_name, project=name, jobs=jobs
            )
    single = 0
    while True:
        with services.sessions.begin() as session:
            deleted = deleting.delete_some_jobs(session, project, owner_id)
        single += deleted
        if deleted < deleting.JOBS_AT_ONCE:
            break
    with services.sessions.begin() as session:
        deleting.delete_project(session, project)
        trail.note(session, "project.deleted", name, jobs=single)


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
        changed, seen = 0, set[int]()
        # All in one transaction, so that a study is never half cancelled; and in the order of ids, like
        # everything that locks several jobs.
        while jobs:
            for job in jobs:
                # A job may change, or have nothing to take back, before its turn comes.
                with contextlib.suppress(WrongStatus):
                    if job.status in statuses:
                        change(session, job, who=user.name)
                        changed += 1
            seen.update(job.id for job in jobs)
            # One that has ended before its turn came may have made others: the next trials of a search, or the next look
            # of a study that grows.
            jobs = [job for job in studies.jobs_of(session, study_id) if job.id not in seen]
        if not changed:
            raise Conflict(f"study {study_id} has no job that is {' or '.join(statuses)}")
        answer = build_study_views(services, session, [find_study(session, study_id)])[0]
    # After the commit, or a worker could look before there is anything to see.
    services.waker.wake()
    return answer


def _whose(user: User) -> int | None:
    """Whose things this person deletes; None: everybody's."""
    return None if user.role == "admin" else user.id


def _find_deletable(services: Services, user: User, name: str) -> Project | None:
    """None: it has been deleted already."""
    with services.sessions.begin() as session:
        project = projects.find(session, name)
        if project is None:
            if deleting.was_name_deleted(session, "project", name, _whose(user)):
                return None
            raise NotFound(f"there is no project {name}")
        others = deleting.owners_in(session, project) - {user.name}
        is_own = project.owner_id == user.id and may_change(user, user.name, project.id)
        if user.role != "admin" and (others or not is_own):
            whose = (
                f"has jobs of {', '.join(sorted(others))}" if others else "belongs to somebody else"
            )
            raise Forbidden(f"project {name} {whose}: only an admin can delete it")
        deleting.ensure_ended(session, project)
        return project
