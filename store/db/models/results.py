"""What is made of trainings: one narrow row per job, by which results are filtered, sorted and grouped; and verdicts."""

from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import CheckConstraint, ForeignKey, Index, Integer, func, text
from sqlalchemy.orm import Mapped, mapped_column

from store.db.models.table import Table, one_of

VERDICTS = ("holds", "does not hold", "equivalent", "undecided")


class Result(Table):
    """The columns of a training job that queries over the whole history read, and the usual values of its
    documents. Triggers keep it equal to `jobs` in the transaction that changes the job; nothing else writes it.

    A value that the documents lack is NULL, and so is a metric that isn't finite. `archived`: the job itself,
    whatever its study is; `is_trial`: of its study's tuning; `entry` and `board`: digests of the spec
    without what makes no other entry of a leaderboard, and of what it was trained on and for;
    `resampled_entry`, `resampled_board`: the same where the seed cuts the data.
    """

    __tablename__ = "results"
    # The fixed widths first: PostgreSQL finds the columns behind a text only by reading it.
    job_id: Mapped[int] = mapped_column(
        ForeignKey("jobs.id", ondelete="CASCADE"), primary_key=True, autoincrement=False
    )
    study_id: Mapped[int | None]
    project_id: Mapped[int | None]
    owner_id: Mapped[int]
    dataset_id: Mapped[int]
    seed: Mapped[int]
    is_trial: Mapped[bool]
    archived: Mapped[bool]
    created_at: Mapped[datetime]
    started_at: Mapped[datetime | None]
    finished_at: Mapped[datetime | None]
    status: Mapped[str]
    reason: Mapped[str | None]
    best_val_accuracy: Mapped[float | None]
    best_val_loss: Mapped[float | None]
    best_epoch: Mapped[float | None]
    test_accuracy: Mapped[float | None]
    test_loss: Mapped[float | None]
    chance_accuracy: Mapped[float | None]
    chance_loss: Mapped[float | None]
    norm_kind: Mapped[str | None]
    dataset_name: Mapped[str | None]
    dataset_train_size: Mapped[float | None]
    dataset_label_noise: Mapped[float | None]
    model_name: Mapped[str | None]
    model_width: Mapped[float | None]
    model_depth: Mapped[float | None]
    optimizer_kind: Mapped[str | None]
    optimizer_lr: Mapped[float | None]
    optimizer_momentum: Mapped[float | None]
    training_batch_size: Mapped[float | None]
    training_epochs: Mapped[float | None]
    task_kind: Mapped[str | None]
    weights_kind: Mapped[str | None]
    schedule_kind: Mapped[str | None]
    early_stopping_kind: Mapped[str | None]
    regularization_kind: Mapped[list[Any]]
    augmentation_kind: Mapped[list[Any]]
    entry: Mapped[UUID]
    board: Mapped[UUID]
    resampled_entry: Mapped[UUID]
    resampled_board: Mapped[UUID]
    tags: Mapped[list[Any]]
    variant: Mapped[str | None]
    name: Mapped[str]
    __table_args__ = (
        Index("ix_results_study_id_job_id", "study_id", "job_id"),
        Index("ix_results_project_id_job_id", "project_id", "job_id"),
        # The orders that lists are sorted by most, as `store.results.ordering` writes them: a page is read from
        # its place in the index, however many jobs there are.
        *(
            Index(
                f"ix_results_{name}",
                text(f"{name} {direction} NULLS LAST"),
                text("job_id DESC"),
            )
            for name, direction in (
                ("best_val_accuracy", "DESC"),
                ("best_val_loss", "ASC"),
                ("test_accuracy", "DESC"),
                ("test_loss", "ASC"),
            )
        ),
    )


class Verdict(Table):
    """The verdict on one claim of a study whose jobs have ended; `answer` is the whole document
    (`studies.claims.schemas.ClaimVerdict`)."""

    __tablename__ = "verdicts"
    study_id: Mapped[int] = mapped_column(
        ForeignKey("studies.id", ondelete="CASCADE"), primary_key=True
    )
    claim: Mapped[str] = mapped_column(primary_key=True)
    number: Mapped[int] = mapped_column(Integer)
    verdict: Mapped[str]
    n: Mapped[int] = mapped_column(Integer)
    p_value: Mapped[float | None]
    p_adjusted: Mapped[float | None]
    sentence: Mapped[str]
    answer: Mapped[dict[str, Any]]
    judged_at: Mapped[datetime] = mapped_column(server_default=func.now())
    __table_args__ = (CheckConstraint(one_of("verdict", VERDICTS), name="verdict"),)
