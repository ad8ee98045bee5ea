"""Which start of a worker holds a host's name and runs an attempt, and which folder is the storage."""

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op

revision: str = "0009"
down_revision: str | None = "0008"
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None

_OF_WORKERS = ("instance", "machine", "namespace", "address")


def upgrade() -> None:
    for name in _OF_WORKERS:
        op.add_column("workers", sa.Column(name, sa.Text(), nullable=True))
    op.add_column("workers", sa.Column("ended_at", sa.DateTime(timezone=True), nullable=True))
    op.add_column("attempts", sa.Column("instance", sa.Text(), nullable=True))
    op.create_table(
        "storage",
        sa.Column("singleton", sa.Boolean(), server_default="true", nullable=False),
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("folder", sa.Text(), nullable=False),
        sa.Column("machine", sa.Text(), nullable=False),
        sa.Column(
            "adopted_at", sa.DateTime(timezone=True), server_default=sa.func.now(), nullable=False
        ),
        sa.CheckConstraint("singleton", name="singleton"),
        sa.PrimaryKeyConstraint("singleton", name=op.f("pk_storage")),
    )


def downgrade() -> None:
    op.drop_table("storage")
    op.drop_column("attempts", "instance")
    for name in ("ended_at", *_OF_WORKERS):
        op.drop_column("workers", name)
