"""What jobs and studies leave: epochs, diagnoses, checkpoints, files, log lines, transitions."""

from datetime import datetime
from typing import Any

from sqlalchemy import CheckConstraint, ForeignKey, Identity, Index, UniqueConstraint, func, text
from sqlalchemy.orm import Mapped, mapped_column

from store.db.models.table import Table, one_of


class Epoch(Table):
    """One evaluation period of a job. A value that isn't finite is NULL here and named in `non_finite`."""

    __tablename__ = "epochs"
    job_id: Mapped[int] = mapped_column(ForeignKey("jobs.id", ondelete="CASCADE"), primary_key=True)
    epoch: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    attempt: Mapped[int]
    step: Mapped[int]
    train_loss: Mapped[float | None]
    train_cost: Mapped[float | None]
    train_accuracy: Mapped[float | None]
    val_loss: Mapped[float | None]
    val_accuracy: Mapped[float | None]
    learning_rate: Mapped[float | None]
    seconds: Mapped[float]
    extra: Mapped[dict[str, Any]] = mapped_column(server_default=text("'{}'::jsonb"))
    non_finite: Mapped[dict[str, Any]] = mapped_column(server_default=text("'{}'::jsonb"))
    recorded_at: Mapped[datetime] = mapped_column(server_default=func.now())


class Diagnosis(Table):
    """Statistics of one layer at one diagnostic step. A value that isn't finite is NULL here and named in
    `non_finite`. Ids grow in the order of recording."""

    __tablename__ = "diagnoses"
    id: Mapped[int] = mapped_column(Identity(), primary_key=True)
    job_id: Mapped[int] = mapped_column(ForeignKey("jobs.id", ondelete="CASCADE"))
    attempt: Mapped[int]
    epoch: Mapped[int]
    step: Mapped[int]
    layer: Mapped[str]
    statistics: Mapped[dict[str, Any]]
    non_finite: Mapped[dict[str, Any]] = mapped_column(server_default=text("'{}'::jsonb"))
    recorded_at: Mapped[datetime] = mapped_column(server_default=func.now())
    __table_args__ = (UniqueConstraint("job_id", "layer", "step"),)


class Checkpoint(Table):
    """A checkpoint file exists once this row names it; `path` is relative to the storage root."""

    __tablename__ = "checkpoints"
    id: Mapped[int] = mapped_column(Identity(), primary_key=True)
    job_id: Mapped[int] = mapped_column(ForeignKey("jobs.id", ondelete="CASCADE"))
    attempt: Mapped[int]
    kind: Mapped[str]
    epoch: Mapped[int]
    step: Mapped[int]
    path: Mapped[str]
    digest: Mapped[str]
    bytes: Mapped[int]
    created_at: Mapped[datetime] = mapped_column(server_default=func.now())
    __table_args__ = (
        UniqueConstraint("job_id", "path"),
        CheckConstraint(one_of("kind", ("last", "best")), name="kind"),
    )


class File(Table):
    """A file that belongs to a job or a study; `path` is relative to the storage root."""

    __tablename__ = "files"
    id: Mapped[int] = mapped_column(Identity(), primary_key=True)
    job_id: Mapped[int | None] = mapped_column(
        ForeignKey("jobs.id", ondelete="CASCADE"), index=True
    )
    study_id: Mapped[int | None] = mapped_column(
        ForeignKey("studies.id", ondelete="CASCADE"), index=True
    )
    name: Mapped[str]
    path: Mapped[str]
    digest: Mapped[str]
    bytes: Mapped[int]
    created_at: Mapped[datetime] = mapped_column(server_default=func.now())
    __table_args__ = (
        UniqueConstraint("job_id", "name"),
        UniqueConstraint("study_id", "name"),
        CheckConstraint("num_nonnulls(job_id, study_id) = 1", name="one_owner"),
    )


class LogLine(Table):
    """One log line of a job's attempt."""

    __tablename__ = "log_lines"
    id: Mapped[int] = mapped_column(Identity(), primary_key=True)
    job_id: Mapped[int] = mapped_column(ForeignKey("jobs.id", ondelete="CASCADE"))
    attempt: Mapped[int]
    at: Mapped[datetime] = mapped_column(server_default=func.clock_timestamp())
    level: Mapped[str]
    text: Mapped[str]
    __table_args__ = (Index("ix_log_lines_job_id_id", "job_id", "id"),)


class Transition(Table):
    """Who changed a job's status, when, from what, to what, and why."""

    __tablename__ = "transitions"
    id: Mapped[int] = mapped_column(Identity(), primary_key=True)
    job_id: Mapped[int] = mapped_column(ForeignKey("jobs.id", ondelete="CASCADE"), index=True)
    at: Mapped[datetime] = mapped_column(server_default=func.clock_timestamp())
    who: Mapped[str]
    from_status: Mapped[str | None]
    to_status: Mapped[str]
    why: Mapped[str]
