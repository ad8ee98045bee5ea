"""What came out: one row per training job, and the records of one job in order. Only reads."""

from collections.abc import Sequence
from typing import Any

from sqlalchemy import Label, Select, func, select
from sqlalchemy.orm import Session

from store.models import (
    Attempt,
    Checkpoint,
    Diagnosis,
    Epoch,
    File,
    Job,
    LogLine,
    Project,
    Study,
    Transition,
    User,
)
from store.paging import Page, cut, decode_cursor


def rows(
    session: Session,
    *,
    study_id: int | None = None,
    project: str | None = None,
    variant: str | None = None,
    status: str | None = None,
    owner: str | None = None,
    cursor: str | None = None,
    limit: int | None = None,
) -> Page[dict[str, Any]]:
    """One row per training job, the newest first; without a limit, all.

    Keys: job_id, study_id, study, project, owner, name, variant, point, seed, status, reason, metrics (by
    name; None where not finite), non_finite (name to `nan`, `inf`, `-inf`), epochs (periods trained),
    seconds, attempts, created_at, started_at, finished_at. Raises BadCursor.
    """
    wanted = {
        Job.study_id: study_id,
        Project.name: project,
        Job.variant: variant,
        Job.status: status,
        User.name: owner,
    }
    statement = _rows().where(
        *(column == value for column, value in wanted.items() if value is not None)
    )
    if cursor is not None:
        statement = statement.where(Job.id < decode_cursor(cursor))
    if limit is not None:
        statement = statement.limit(limit + 1)
    found = [dict(row) for row in session.execute(statement).mappings()]
    return Page(found, None) if limit is None else cut(found, "job_id", limit)


def study_rows(session: Session, study_id: int) -> list[dict[str, Any]]:
    """One row per job of the study, as it was made, with all that a comparison rests on.

    Beyond the keys of `rows`: spec, hash, facts, environment (of the last attempt that started), and
    best_seconds (of training and validation, until the epoch whose weights were kept).
    """
    statement = _rows().add_columns(Job.spec, Job.hash, Job.facts, _environment(), _best_seconds())
    statement = statement.where(Job.study_id == study_id).order_by(None).order_by(Job.id)
    return [dict(row) for row in session.execute(statement).mappings()]


def epochs(session: Session, job_id: int, after: int = 0) -> Sequence[Epoch]:
    """The job's evaluation periods beyond `after`, in order."""
    statement = select(Epoch).where(Epoch.job_id == job_id, Epoch.epoch > after)
    return session.scalars(statement.order_by(Epoch.epoch)).all()


def diagnoses(
    session: Session, job_id: int, *, layer: str | None = None, after: int = 0, limit: int
) -> Sequence[Diagnosis]:
    """What was seen inside the job's network, in the order of recording; `after` is an id."""
    statement = select(Diagnosis).where(Diagnosis.job_id == job_id, Diagnosis.id > after)
    if layer is not None:
        statement = statement.where(Diagnosis.layer == layer)
    return session.scalars(statement.order_by(Diagnosis.id).limit(limit)).all()


def first_diagnoses(session: Session, job_id: int) -> dict[str, Diagnosis]:
    """The first look at each layer, which drift is measured from."""
    first = (
        select(Diagnosis.layer, func.min(Diagnosis.step).label("step"))
        .where(Diagnosis.job_id == job_id)
        .group_by(Diagnosis.layer)
        .subquery()
    )
    statement = select(Diagnosis).where(
        Diagnosis.job_id == job_id,
        Diagnosis.layer == first.c.layer,
        Diagnosis.step == first.c.step,
    )
    return {row.layer: row for row in session.scalars(statement)}


def attempts(session: Session, job_id: int) -> Sequence[Attempt]:
    """In order of their numbers."""
    statement = select(Attempt).where(Attempt.job_id == job_id)
    return session.scalars(statement.order_by(Attempt.number)).all()


def transitions(session: Session, job_id: int) -> Sequence[Transition]:
    """In the order in which they happened."""
    statement = select(Transition).where(Transition.job_id == job_id)
    return session.scalars(statement.order_by(Transition.id)).all()


def checkpoints(session: Session, job_id: int) -> Sequence[Checkpoint]:
    """Newest first."""
    statement = select(Checkpoint).where(Checkpoint.job_id == job_id)
    return session.scalars(statement.order_by(Checkpoint.id.desc())).all()


def files(session: Session, job_id: int) -> Sequence[File]:
    """By name."""
    statement = select(File).where(File.job_id == job_id)
    return session.scalars(statement.order_by(File.name)).all()


def study_files(session: Session, study_id: int) -> Sequence[File]:
    """By name."""
    statement = select(File).where(File.study_id == study_id)
    return session.scalars(statement.order_by(File.name)).all()


def logs(session: Session, job_id: int, after: int = 0, limit: int = 1000) -> Sequence[LogLine]:
    """Lines with an id beyond `after`, in order."""
    statement = select(LogLine).where(LogLine.job_id == job_id, LogLine.id > after)
    return session.scalars(statement.order_by(LogLine.id).limit(limit)).all()


def _environment() -> Label[Any]:
    return (
        select(Attempt.environment)
        .where(Attempt.job_id == Job.id, Attempt.environment.is_not(None))
        .order_by(Attempt.number.desc())
        .limit(1)
        .scalar_subquery()
        .label("environment")
    )


def _best_seconds() -> Label[Any]:
    kept = Job.metrics["best_epoch"].as_float()
    return (
        select(func.sum(Epoch.seconds))
        .where(Epoch.job_id == Job.id, Epoch.epoch <= kept)
        .scalar_subquery()
        .label("best_seconds")
    )


def _rows() -> Select[Any]:
    trained = select(func.count()).where(Epoch.job_id == Job.id).scalar_subquery()
    return (
        select(
            Job.id.label("job_id"),
            Job.study_id,
            Study.name.label("study"),
            Project.name.label("project"),
            User.name.label("owner"),
            Job.name,
            Job.variant,
            Job.point,
            Job.seed,
            Job.status,
            Job.reason,
            Job.metrics,
            Job.non_finite,
            trained.label("epochs"),
            Job.seconds_used.label("seconds"),
            Job.attempt.label("attempts"),
            Job.created_at,
            Job.started_at,
            Job.finished_at,
        )
        .join(User, User.id == Job.owner_id)
        .outerjoin(Project, Project.id == Job.project_id)
        .outerjoin(Study, Study.id == Job.study_id)
        .where(Job.kind == "training")
        .order_by(Job.id.desc())
    )
