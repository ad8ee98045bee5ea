"""A job may ask for whole devices, and an attempt says how many slots it holds."""

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op

revision: str = "0022"
down_revision: str | None = "0021"
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None


def upgrade() -> None:
    op.add_column(
        "jobs", sa.Column("exclusive", sa.Boolean(), server_default="false", nullable=False)
    )
    # No spec could ask for more than one device before, so all attempts held one slot.
    op.add_column(
        "attempts", sa.Column("slots", sa.BigInteger(), server_default="1", nullable=False)
    )


def downgrade() -> None:
    op.drop_column("attempts", "slots")
    op.drop_column("jobs", "exclusive")
