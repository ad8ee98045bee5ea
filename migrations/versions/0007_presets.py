"""Which preset a study came from, and the verdicts on studies' claims."""

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import JSONB

revision: str = "0007"
down_revision: str | None = "0006"
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None


def upgrade() -> None:
    op.add_column("studies", sa.Column("preset", JSONB(none_as_null=True), nullable=True))
    op.add_column("studies", sa.Column("judged_at", sa.DateTime(timezone=True), nullable=True))
    op.create_index(
        "ix_studies_preset",
        "studies",
        [sa.literal_column("(preset ->> 'name')"), "id"],
        postgresql_where=sa.text("preset IS NOT NULL"),
    )
    op.create_table(
        "verdicts",
        sa.Column("study_id", sa.BigInteger(), nullable=False),
        sa.Column("claim", sa.Text(), nullable=False),
        sa.Column("number", sa.Integer(), nullable=False),
        sa.Column("verdict", sa.Text(), nullable=False),
        sa.Column("n", sa.Integer(), nullable=False),
        sa.Column("p_value", sa.Float(), nullable=True),
        sa.Column("p_adjusted", sa.Float(), nullable=True),
        sa.Column("sentence", sa.Text(), nullable=False),
        sa.Column("answer", JSONB(none_as_null=True), nullable=False),
        sa.Column(
            "judged_at",
            sa.DateTime(timezone=True),
            server_default=sa.func.now(),
            nullable=False,
        ),
        sa.CheckConstraint(
            "verdict IN ('holds', 'does not hold', 'equivalent', 'undecided')",
            name="verdict",
        ),
        sa.ForeignKeyConstraint(
            ["study_id"], ["studies.id"], name=op.f("fk_verdicts_study_id_studies")
        ),
        sa.PrimaryKeyConstraint("study_id", "claim", name=op.f("pk_verdicts")),
    )


def downgrade() -> None:
    op.drop_table("verdicts")
    op.drop_index("ix_studies_preset", table_name="studies")
    op.drop_column("studies", "judged_at")
    op.drop_column("studies", "preset")
