"""The experiments of projects in MLflow, and the runs that people have deleted there."""

from collections.abc import Collection, Sequence

from sqlalchemy import ColumnElement, Text, cast, exists, or_, select, update
from sqlalchemy.orm import Session

from store.db import Job, Mirrored, MirrorProblem, Project, Study

#: In a row's state: the run is to be deleted again, since its experiment was restored with all its runs.
_DELETE_AGAIN = "delete_again"


def experiment_of(session: Session, project_id: int) -> str | None:
    """The id of the experiment that the project's runs went to so far."""
    return session.scalar(select(Project.experiment_id).where(Project.id == project_id))


def set_experiment(session: Session, project_id: int, experiment_id: str) -> None:
    query = update(Project).where(Project.id == project_id)
    session.execute(query.values(experiment_id=experiment_id))


def projects(session: Session) -> Sequence[Project]:
    """Those that have an experiment."""
    return session.scalars(select(Project).where(Project.experiment_id.is_not(None))).all()


def project_of(session: Session, row: Mirrored) -> Project:
    """The project of the job or the study that the row is about."""
    of_job = select(Job.project_id).where(Job.id == row.job_id)
    of_study = select(Study.project_id).where(Study.id == row.study_id)
    query = select(Project).where(or_(Project.id.in_(of_job), Project.id.in_(of_study)))
    return session.scalars(query).one()


def rows_of_runs(session: Session, run_ids: Collection[str]) -> Sequence[Mirrored]:
    """The rows of these runs; without runs that are no job's or study's, or are known to be deleted."""
    query = select(Mirrored).where(Mirrored.run_id.in_(run_ids), ~_is_deleted())
    return session.scalars(query).all()


def deleted_runs(session: Session) -> Sequence[Mirrored]:
    """The rows whose run is known to be deleted."""
    return session.scalars(select(Mirrored).where(_is_deleted())).all()


def send_again(session: Session, row: Mirrored) -> None:
    """The run was restored: what has changed since it was last written to is due."""
    session.execute(update(Mirrored).where(Mirrored.id == row.id).values(seen_at=None))


def plan_deletions(session: Session, experiment_id: str) -> None:
    """Notes, before an experiment is restored with all its runs, which of them are to be deleted again."""
    rows = session.scalars(
        select(Mirrored).where(_is_deleted(), Mirrored.experiment_id == experiment_id)
    )
    for row in rows:
        row.state = {**row.state, _DELETE_AGAIN: True}


def planned_deletions(session: Session) -> Sequence[Mirrored]:
    return session.scalars(select(Mirrored).where(Mirrored.state.has_key(_DELETE_AGAIN))).all()


def note_deletion(session: Session, row_id: int) -> None:
    """The run is deleted again."""
    query = update(Mirrored).where(Mirrored.id == row_id)
    session.execute(query.values(state=Mirrored.state.op("-")(cast(_DELETE_AGAIN, Text))))


def _is_deleted() -> ColumnElement[bool]:
    return exists().where(
        MirrorProblem.kind == "deleted",
        or_(MirrorProblem.job_id == Mirrored.job_id, MirrorProblem.study_id == Mirrored.study_id),
    )
