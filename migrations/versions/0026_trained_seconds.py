"""Estimates leave out answered jobs, and so does their index."""

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op

revision: str = "0026"
down_revision: str | None = "0025"
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None


def upgrade() -> None:
    _replace("status = 'succeeded' AND reused_from IS NULL")


def downgrade() -> None:
    _replace("status = 'succeeded'")


def _replace(condition: str) -> None:
    op.drop_index("ix_jobs_succeeded", table_name="jobs")
    op.create_index(
        "ix_jobs_succeeded",
        "jobs",
        ["study_id", "finished_at"],
        postgresql_where=sa.text(condition),
    )
