"""What a job saw inside its network while it trained."""

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import JSONB

revision: str = "0002"
down_revision: str | None = "0001"
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None


def upgrade() -> None:
    op.create_table(
        "diagnoses",
        sa.Column("id", sa.BigInteger(), sa.Identity(), nullable=False),
        sa.Column("job_id", sa.BigInteger(), nullable=False),
        sa.Column("attempt", sa.BigInteger(), nullable=False),
        sa.Column("epoch", sa.BigInteger(), nullable=False),
        sa.Column("step", sa.BigInteger(), nullable=False),
        sa.Column("layer", sa.Text(), nullable=False),
        sa.Column("statistics", JSONB(), nullable=False),
        sa.Column("non_finite", JSONB(), server_default=sa.text("'{}'::jsonb"), nullable=False),
        sa.Column(
            "recorded_at",
            sa.DateTime(timezone=True),
            server_default=sa.text("now()"),
            nullable=False,
        ),
        sa.ForeignKeyConstraint(["job_id"], ["jobs.id"], name="fk_diagnoses_job_id_jobs"),
        sa.PrimaryKeyConstraint("id", name="pk_diagnoses"),
        sa.UniqueConstraint("job_id", "layer", "step", name="uq_diagnoses_job_id_layer_step"),
    )


def downgrade() -> None:
    op.drop_table("diagnoses")
