"""Learning curves of a study's jobs."""

from typing import Literal

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from store.db import Epoch, Job

Column = Literal["train_loss", "train_accuracy", "val_loss", "val_accuracy"]


def first_steps(session: Session, study_id: int, column: Column, value: float) -> dict[int, int]:
    """By job of the study: the optimizer steps at the first evaluation with at least that accuracy, or at
    most that loss; jobs that never got there are not there."""
    curve = getattr(Epoch, column)
    reached = curve <= value if column.endswith("_loss") else curve >= value
    statement = (
        select(Epoch.job_id, func.min(Epoch.step))
        .join(Job, Job.id == Epoch.job_id)
        .where(Job.study_id == study_id, reached)
        .group_by(Epoch.job_id)
    )
    return {job_id: step for job_id, step in session.execute(statement)}
