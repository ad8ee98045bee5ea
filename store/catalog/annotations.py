"""Annotations of jobs and studies: tags, a note, archived. They change no status."""

from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import ColumnElement, or_, select, update
from sqlalchemy.orm import Session

from store.db import (
    FINAL_STATUSES,
    JOBS_CHANNEL,
    Job,
    Mirrored,
    Study,
    WrongStatus,
    database_now,
    lifecycle,
    notify,
    sanitize_text,
)


@dataclass(frozen=True, slots=True)
class Annotation:
    """A change of annotations; None leaves a field unchanged."""

    tags: Sequence[str] | None = None
    note: str | None = None
    archived: bool | None = None


def annotate_job(session: Session, job_id: int, change: Annotation) -> None:
    """Raises WrongStatus for archiving a job that hasn't ended."""
    job = lifecycle.lock(session, job_id)
    if change.archived and job.status not in FINAL_STATUSES:
        raise WrongStatus(f"cannot archive job {job_id}: it is {job.status}")
    _apply(session, job, change)
    lifecycle.mark_changed(session, job)


def annotate_study(session: Session, study_id: int, change: Annotation) -> None:
    """Archiving a study archives its jobs; raises WrongStatus while one of them hasn't ended."""
    study = session.get_one(Study, study_id, with_for_update=True)
    if change.archived and (unfinished := _unfinished(session, study_id)):
        raise WrongStatus(f"cannot archive study {study_id}: job {unfinished} has not ended")
    _apply(session, study, change)
    session.execute(update(Mirrored).where(Mirrored.study_id == study_id).values(seen_at=None))
    # No job has changed, so that without this the mirror would look at the study with its next look at all of them.
    notify(session, JOBS_CHANNEL, "")


def is_tagged(tag: str) -> ColumnElement[bool]:
    """A job by its own tag or its study's; for queries of jobs joined to their studies."""
    return or_(Job.tags.contains([tag]), Study.tags.contains([tag]))


def is_archived() -> ColumnElement[bool]:
    """A job itself or with its study; for queries of jobs joined to their studies."""
    return or_(Job.archived_at.is_not(None), Study.archived_at.is_not(None))


def _apply(session: Session, one: Job | Study, change: Annotation) -> None:
    if change.tags is not None:
        one.tags = list(change.tags)
    if change.note is not None:
        one.note = sanitize_text(change.note)
    if change.archived is not None and change.archived != (one.archived_at is not None):
        one.archived_at = database_now(session) if change.archived else None


def _unfinished(session: Session, study_id: int) -> int | None:
    running = Job.status.not_in(FINAL_STATUSES)
    statement = select(Job.id).where(Job.study_id == study_id, running).order_by(Job.id)
    return session.scalars(statement.limit(1)).first()
