"""Lines of the queue hold jobs that need the same devices; those that share GPUs, also what they take of its memory."""

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op

revision: str = "0032"
down_revision: str | None = "0031"
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None

_IN_LINE = "status = 'queued' AND waits_for IS NULL"
#: Jobs that have ended get theirs when they are retried, those that ran out of memory then.
_FILL = """
    UPDATE jobs SET shape = shape_of(spec)
    WHERE status IN ('queued', 'running', 'paused') AND kind = 'training' AND NOT EXISTS (
        SELECT FROM attempts
        WHERE job_id = jobs.id AND number > jobs.attempt_base AND "end" = 'oom'
    )
"""


def upgrade() -> None:
    op.add_column("jobs", sa.Column("shape", sa.Text(), server_default="", nullable=False))
    op.execute(_FILL)
    op.drop_index("ix_jobs_claimable", table_name="jobs")
    _create_index("ix_jobs_claimable", "devices", "exclusive")
    _create_index("ix_jobs_packable", "devices", "exclusive", "shape")


def downgrade() -> None:
    op.drop_index("ix_jobs_packable", table_name="jobs")
    op.drop_index("ix_jobs_claimable", table_name="jobs")
    _create_index("ix_jobs_claimable")
    op.drop_column("jobs", "shape")


def _create_index(name: str, *need: str) -> None:
    columns = ["owner_id", "priority", "device", *need, "queued_at", "id"]
    op.create_index(name, "jobs", columns, postgresql_where=sa.text(_IN_LINE))
