"""GPU memory: what a device has, what others use of it, what leases book, and what jobs of a shape took."""

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op

revision: str = "0027"
down_revision: str | None = "0026"
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None

_COLUMNS = (
    ("devices", "memory_bytes"),
    ("devices", "foreign_bytes"),
    ("leases", "booked_bytes"),
    ("leases", "used_bytes"),
)


def upgrade() -> None:
    for table, column in _COLUMNS:
        op.add_column(table, sa.Column(column, sa.BigInteger(), nullable=True))
    op.create_table(
        "footprints",
        sa.Column("shape", sa.Text(), nullable=False),
        sa.Column("device", sa.Text(), nullable=False),
        sa.Column("memory_bytes", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("shape", "device", name=op.f("pk_footprints")),
    )


def downgrade() -> None:
    op.drop_table("footprints")
    for table, column in reversed(_COLUMNS):
        op.drop_column(table, column)
