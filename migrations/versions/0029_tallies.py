"""What a list of studies says of their jobs is read from an index."""

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op

revision: str = "0029"
down_revision: str | None = "0028"
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None


def upgrade() -> None:
    op.create_index(
        "ix_jobs_tally",
        "jobs",
        ["study_id", "status"],
        postgresql_include=["reused_from", "expected_seconds", "seconds_used"],
        postgresql_where=sa.text("study_id IS NOT NULL"),
    )


def downgrade() -> None:
    op.drop_index("ix_jobs_tally", table_name="jobs")
