"""The runs that MLflow should have in full: of jobs and studies that have ended, and were sent since."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from store.db import FINAL_STATUSES, Job, Mirrored, Study, Transition
from store.mlflow import mirror, mirror_problems
from store.mlflow.mirror_problems import Subject


@dataclass(frozen=True, slots=True)
class Key:
    """Under which key a run was made; `run_id` is empty while that is not known to have happened."""

    key: str
    run_id: str


def ended_jobs(session: Session, after: int, limit: int) -> Sequence[int]:
    """Jobs with a greater id than `after` that have ended, and of which nothing is due."""
    query = (
        select(Job.id)
        .join(Mirrored, Mirrored.job_id == Job.id)
        .where(
            Job.id > after,
            Job.status.in_(FINAL_STATUSES),
            Mirrored.run_id != "",
            Mirrored.seen_at == Job.changed_at,
        )
    )
    return session.scalars(query.order_by(Job.id).limit(limit)).all()


def ended_studies(session: Session) -> Sequence[int]:
    """Studies whose jobs have all ended, and of which nothing is due."""
    query = (
        select(Study.id)
        .join(Job, Job.study_id == Study.id)
        .join(Mirrored, Mirrored.study_id == Study.id)
        .where(Mirrored.run_id != "")
        .group_by(Study.id, Mirrored.id)
        .having(
            func.bool_and(Job.status.in_(FINAL_STATUSES)),
            Mirrored.seen_at == func.max(Job.changed_at),
        )
    )
    return session.scalars(query.order_by(Study.id)).all()


def ended_again(session: Session, job_ids: Collection[int]) -> set[int]:
    """Those of these jobs that were retried after they had ended: their runs have the results of each end."""
    query = (
        select(Transition.job_id)
        .where(Transition.job_id.in_(job_ids), Transition.to_status.in_(FINAL_STATUSES))
        .group_by(Transition.job_id)
        .having(func.count() > 1)
    )
    return set(session.scalars(query))


def keys(session: Session) -> dict[str, Key]:
    """By key, all runs that were made or are about to be."""
    rows = session.execute(select(Mirrored.state["key"].astext, Mirrored.run_id))
    return {key: Key(key, run_id) for key, run_id in rows}


def forget_run(session: Session, run_id: str) -> tuple[int | None, str | None]:
    """Whoever has this run is sent again, to a new one; the job, if it is one's, and the model of the run."""
    row = session.scalar(select(Mirrored).where(Mirrored.run_id == run_id))
    if row is None:
        return None, None
    job_id, study_id, model_id = row.job_id, row.study_id, row.state.get("model_id")
    for kind in ("run", "deleted", "files", "model"):
        mirror_problems.clear(session, Subject(kind, job_id=job_id, study_id=study_id))
    mirror.forget(session, row)
    return job_id, model_id
