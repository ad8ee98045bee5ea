"""When a waiting job was expected to start is kept, so that it is known how wrong it was."""

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op

revision: str = "0021"
down_revision: str | None = "0020"
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None


def upgrade() -> None:
    op.create_table(
        "start_estimates",
        sa.Column("job_id", sa.BigInteger(), nullable=False),
        sa.Column("made_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("expected_at", sa.DateTime(timezone=True), nullable=True),
        sa.ForeignKeyConstraint(
            ["job_id"], ["jobs.id"], name=op.f("fk_start_estimates_job_id_jobs")
        ),
        sa.PrimaryKeyConstraint("job_id", name=op.f("pk_start_estimates")),
    )


def downgrade() -> None:
    op.drop_table("start_estimates")
