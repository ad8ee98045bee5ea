"""What was deleted: the marks that stay, and what is still to be removed elsewhere."""

from datetime import datetime
from typing import Any

from sqlalchemy import CheckConstraint, ForeignKey, Identity, Index, UniqueConstraint, func, text
from sqlalchemy.orm import Mapped, mapped_column

from store.db.models.table import Table, one_of

DELETED_KINDS = ("job", "study", "dataset", "project")


class Deletion(Table):
    """A job, study, dataset or project that was deleted. Its id is never given again.

    `seconds` and `day_seconds`: what a job had used of the machines, faded to `at` (`store.jobs.usage`): who deletes
    jobs gets no turn back. `source_id`: the job that had answered it, whose files it named. `digest`: of a dataset's
    content. `mirrored`: its run in MLflow, or its experiment (`store.deletions`). `files_at`, `runs_at`: when they were
    removed; NULL: not yet. `name`: of a dataset or a project, which are known by theirs.
    """

    __tablename__ = "deletions"
    id: Mapped[int] = mapped_column(Identity(), primary_key=True)
    kind: Mapped[str]
    subject_id: Mapped[int]
    name: Mapped[str | None]
    owner_id: Mapped[int | None] = mapped_column(ForeignKey("users.id"))
    at: Mapped[datetime] = mapped_column(server_default=func.now())
    seconds: Mapped[float] = mapped_column(server_default="0")
    day_seconds: Mapped[float] = mapped_column(server_default="0")
    source_id: Mapped[int | None]
    digest: Mapped[str | None]
    mirrored: Mapped[dict[str, Any] | None]
    files_at: Mapped[datetime | None]
    runs_at: Mapped[datetime | None]
    __table_args__ = (
        UniqueConstraint("kind", "subject_id"),
        CheckConstraint(one_of("kind", DELETED_KINDS), name="kind"),
        Index("ix_deletions_name", "kind", "name", postgresql_where=text("name IS NOT NULL")),
        *(
            Index(f"ix_deletions_{name}", "id", postgresql_where=text(f"{name} IS NULL"))
            for name in ("files_at", "runs_at")
        ),
    )
