"""What is sent to MLflow after a run is closed there: its figures and its model.

Exports of a model are counted before each attempt, so that an attempt that ends the whole mirror is counted as well.
"""

from collections.abc import Collection

from sqlalchemy import Select, select
from sqlalchemy.orm import Session

from store.db import Checkpoint, Mirrored, MirrorProblem
from store.mlflow.mirror import open_run
from store.mlflow.mirror_problems import is_held_back

#: In the state of a job's row of `mirrored`, until its model has been sent or given up.
KEY = "exports"


def request_models(session: Session, job_ids: Collection[int], experiment_id: str) -> None:
    """Notes that these jobs' models belong in MLflow, once their runs are closed there."""
    for job_id in job_ids:
        row = open_run(session, experiment_id, job_id=job_id)
        if "model" not in row.state:
            row.state = {**row.state, "model": "wanted"}


def next_files(session: Session) -> Mirrored | None:
    """The row of the ended study or job whose figures are to be sent next.

    Studies before jobs, the latest first: people look at those, not at a backlog.
    """
    owners = (MirrorProblem.job_id, Mirrored.job_id), (MirrorProblem.study_id, Mirrored.study_id)
    query = (
        select(Mirrored)
        .where(
            ~is_held_back("files", *owners),
            Mirrored.closed_at.is_not(None),
            Mirrored.state["files"].astext == "wanted",
        )
        .order_by(Mirrored.study_id.is_(None), Mirrored.closed_at.desc(), Mirrored.id.desc())
        .limit(1)
    )
    return session.scalar(query)


def next_model(session: Session) -> int | None:
    """The job whose model is to be logged next, the latest first."""
    query = select(Mirrored.job_id).where(
        Mirrored.job_id.is_not(None),
        ~is_held_back("model", (MirrorProblem.job_id, Mirrored.job_id)),
        Mirrored.closed_at.is_not(None),
        Mirrored.state["model"].astext == "wanted",
    )
    return session.scalar(query.order_by(Mirrored.closed_at.desc(), Mirrored.id.desc()).limit(1))


def best_checkpoint(session: Session, job_id: int) -> Checkpoint | None:
    query = select(Checkpoint).where(Checkpoint.job_id == job_id, Checkpoint.kind == "best")
    return session.scalar(query.order_by(Checkpoint.id.desc()).limit(1))


def begin(session: Session, job_id: int) -> int:
    """Counts an attempt; returns its number, from 1."""
    row = session.scalars(_row(job_id)).one()
    number = int(row.state.get(KEY, 0)) + 1
    row.state = {**row.state, KEY: number}
    return number


def take_back(session: Session, job_id: int) -> None:
    """Uncounts the last attempt: it ended for a reason that has nothing to do with the model."""
    row = session.scalars(_row(job_id)).one_or_none()
    if row is not None:
        row.state = {**row.state, KEY: max(0, int(row.state.get(KEY, 0)) - 1)}


def _row(job_id: int) -> Select[Mirrored]:
    return select(Mirrored).where(Mirrored.job_id == job_id).with_for_update()
