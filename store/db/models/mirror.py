"""The state of the mirror to MLflow: what has been sent, and what could not be."""

from datetime import datetime
from typing import Any

from sqlalchemy import CheckConstraint, ForeignKey, Identity, Integer, UniqueConstraint, func, text
from sqlalchemy.orm import Mapped, mapped_column

from store.db.models.table import Table, one_of

MIRROR_PROBLEMS = ("run", "files", "model", "deleted", "experiment")


class Mirrored(Table):
    """What MLflow has of a job or a study: its run, the last epoch sent, the `changed_at` last seen."""

    __tablename__ = "mirrored"
    id: Mapped[int] = mapped_column(Identity(), primary_key=True)
    job_id: Mapped[int | None] = mapped_column(
        ForeignKey("jobs.id", ondelete="CASCADE"), unique=True
    )
    study_id: Mapped[int | None] = mapped_column(
        ForeignKey("studies.id", ondelete="CASCADE"), unique=True
    )
    run_id: Mapped[str]
    experiment_id: Mapped[str]
    epoch: Mapped[int] = mapped_column(server_default="0")
    seen_at: Mapped[datetime | None]
    closed_at: Mapped[datetime | None]
    state: Mapped[dict[str, Any]] = mapped_column(server_default=text("'{}'::jsonb"))
    __table_args__ = (CheckConstraint("num_nonnulls(job_id, study_id) = 1", name="one_owner"),)


class MirrorProblem(Table):
    """What is missing in MLflow of a job, a study or a project, and why; deleted once it has been sent.

    `kind`: `run`, `files` and `model` could not be sent; `deleted`: the run was deleted there;
    `experiment`: the project's experiment was deleted there. `next_at`: when it is tried again;
    NULL: not by itself.
    """

    __tablename__ = "mirror_problems"
    id: Mapped[int] = mapped_column(Identity(), primary_key=True)
    job_id: Mapped[int | None] = mapped_column(ForeignKey("jobs.id", ondelete="CASCADE"))
    study_id: Mapped[int | None] = mapped_column(ForeignKey("studies.id", ondelete="CASCADE"))
    project_id: Mapped[int | None] = mapped_column(ForeignKey("projects.id", ondelete="CASCADE"))
    kind: Mapped[str]
    reason: Mapped[str]
    attempts: Mapped[int] = mapped_column(Integer)
    since: Mapped[datetime] = mapped_column(server_default=func.now())
    next_at: Mapped[datetime | None]
    __table_args__ = (
        UniqueConstraint("job_id", "kind"),
        UniqueConstraint("study_id", "kind"),
        UniqueConstraint("project_id", "kind"),
        CheckConstraint(one_of("kind", MIRROR_PROBLEMS), name="kind"),
        CheckConstraint("num_nonnulls(job_id, study_id, project_id) = 1", name="one_owner"),
    )
