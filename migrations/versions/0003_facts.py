"""What a training turned out to be, what a study was planned as, and the differences people stand for."""

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import JSONB

revision: str = "0003"
down_revision: str | None = "0002"
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None


def upgrade() -> None:
    op.add_column("jobs", sa.Column("facts", JSONB(none_as_null=True), nullable=True))
    op.add_column(
        "studies",
        sa.Column("declared", JSONB(), server_default=sa.text("'{}'::jsonb"), nullable=False),
    )
    op.add_column("studies", sa.Column("planned_seeds", JSONB(), nullable=True))
    # The jobs that a study was submitted with were made in its own transaction: at the same now().
    op.execute(
        """
        UPDATE studies SET planned_seeds = coalesce(
          (SELECT jsonb_agg(DISTINCT jobs.seed ORDER BY jobs.seed) FROM jobs
           WHERE jobs.study_id = studies.id AND jobs.created_at = studies.created_at),
          '[]'::jsonb)
        """
    )
    op.alter_column("studies", "planned_seeds", nullable=False)


def downgrade() -> None:
    op.drop_column("studies", "planned_seeds")
    op.drop_column("studies", "declared")
    op.drop_column("jobs", "facts")
