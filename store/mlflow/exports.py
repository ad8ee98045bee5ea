"""What is sent to MLflow after a run is closed there: its figures and its model.

Exports of a model are counted before each attempt, so that an attempt that ends the whole mirror is counted as well.
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import timedelta

from sqlalchemy import ColumnElement, Select, exists, func, select
from sqlalchemy.orm import Session

from store.db import IN_LINE, Attempt, Checkpoint, Mirrored, MirrorProblem
from store.mlflow.mirror import open_runs
from store.mlflow.mirror_problems import is_held_back

#: In the state of a job's row of `mirrored`, until its model has been sent or given up.
KEY = "exports"


def request_models(session: Session, job_ids: Collection[int], experiment_id: str) -> None:
    """Notes that these jobs' models belong in MLflow, once their runs are closed there."""
    for row in open_runs(session, dict.fromkeys(job_ids, experiment_id)).values():
        if "model" not in row.state:
            row.state = {**row.state, "model": "wanted"}


@dataclass(frozen=True, slots=True)
class Load:
    """Whether jobs run, and whether some wait to be claimed."""

    is_running: bool
    is_queued: bool


def read_load(session: Session) -> Load:
    running = exists().where(Attempt.ended_at.is_(None))
    # Written into the statement: a plan for any status can't use the index of the queued jobs, and reads them all.
    queued = exists().where(IN_LINE)
    return Load(*session.execute(select(running, queued)).one())


def next_files(session: Session, waited_seconds: float = 0.0, limit: int = 1) -> Sequence[Mirrored]:
    """The rows of ended studies and jobs whose figures are to be sent next: those that have waited so long.

    Studies before jobs, the latest first: people look at those, not at a backlog.
    """
    owners = (MirrorProblem.job_id, Mirrored.job_id), (MirrorProblem.study_id, Mirrored.study_id)
    query = (
        select(Mirrored)
        .where(
            ~is_held_back("files", *owners),
            _has_waited(waited_seconds),
            Mirrored.state["files"].astext == "wanted",
        )
        .order_by(Mirrored.study_id.is_(None), Mirrored.closed_at.desc(), Mirrored.id.desc())
        .limit(limit)
    )
    return session.scalars(query).all()


def next_model(session: Session, waited_seconds: float = 0.0) -> int | None:
    """The job whose model is to be logged next, the latest first, among those that have waited so long."""
    query = select(Mirrored.job_id).where(
        Mirrored.job_id.is_not(None),
        ~is_held_back("model", (MirrorProblem.job_id, Mirrored.job_id)),
        _has_waited(waited_seconds),
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


def note_files(session: Session, sent: Mirrored) -> bool:
    """The figures of this row are sent, unless it has ended anew meanwhile; False if the row is gone."""
    row = session.scalar(select(Mirrored).where(Mirrored.id == sent.id).with_for_update())
    if row is None or row.run_id != sent.run_id:
        return False
    if row.closed_at == sent.closed_at:
        row.state = {**row.state, "files": "sent"}
    return True


def note_model(session: Session, exported: Mirrored, kind: str, model_id: str | None) -> bool:
    """What became of a job's model; False if its row is gone, as after a rebuild."""
    row = session.scalar(select(Mirrored).where(Mirrored.id == exported.id).with_for_update())
    if row is None or row.run_id != exported.run_id:
        return False
    before = {name: value for name, value in row.state.items() if name != KEY}
    row.state = {**before, "model": kind, "model_id": model_id}
    return True


def _has_waited(seconds: float) -> ColumnElement[bool]:
    """Since its run was closed; a run that goes on again has nothing to send."""
    return Mirrored.closed_at <= func.clock_timestamp() - timedelta(seconds=seconds)


def _row(job_id: int) -> Select[Mirrored]:
    return select(Mirrored).where(Mirrored.job_id == job_id).with_for_update()
