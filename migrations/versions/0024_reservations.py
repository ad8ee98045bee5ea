"""Devices and hosts that are kept free of jobs for a time."""

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op

revision: str = "0024"
down_revision: str | None = "0023"
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None


def upgrade() -> None:
    op.create_table(
        "reservations",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=False), nullable=False),
        sa.Column("host", sa.Text(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=True),
        sa.Column("number", sa.BigInteger(), nullable=True),
        sa.Column("owner_id", sa.BigInteger(), nullable=False),
        sa.Column("why", sa.Text(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("ends_at", sa.DateTime(timezone=True), nullable=False),
        sa.CheckConstraint("num_nulls(kind, number) IN (0, 2)", name=op.f("ck_reservations_device")),
        sa.CheckConstraint("kind IN ('cpu', 'cuda')", name=op.f("ck_reservations_kind")),
        sa.ForeignKeyConstraint(["host"], ["workers.host"], name=op.f("fk_reservations_host_workers"), ondelete="CASCADE"),
        sa.ForeignKeyConstraint(["owner_id"], ["users.id"], name=op.f("fk_reservations_owner_id_users")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_reservations")),
    )  # fmt: skip
    op.create_index(op.f("ix_reservations_host"), "reservations", ["host"])


def downgrade() -> None:
    op.drop_table("reservations")
