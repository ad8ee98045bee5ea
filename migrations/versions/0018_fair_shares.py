"""People have weights, and how fast their use is forgotten is a setting."""

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op

revision: str = "0018"
down_revision: str | None = "0017"
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None


def upgrade() -> None:
    op.add_column("users", sa.Column("weight", sa.Float(), server_default="1", nullable=False))
    op.create_check_constraint(op.f("ck_users_weight"), "users", "weight > 0")
    op.create_table(
        "half_life",
        sa.Column("singleton", sa.Boolean(), server_default="true", nullable=False),
        sa.Column("seconds", sa.Float(), nullable=False),
        sa.CheckConstraint("singleton", name=op.f("ck_half_life_singleton")),
        sa.CheckConstraint("seconds > 0", name=op.f("ck_half_life_positive")),
        sa.PrimaryKeyConstraint("singleton", name=op.f("pk_half_life")),
    )


def downgrade() -> None:
    # The sums in `usage` have faded by it; by another they are summed up anew by the sweep's hourly check.
    op.drop_table("half_life")
    op.drop_constraint(op.f("ck_users_weight"), "users")
    op.drop_column("users", "weight")
