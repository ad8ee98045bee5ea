"""Hosts that have no room or a clock that is off, and attempts that ended because the disk ran full."""

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import JSONB

revision: str = "0010"
down_revision: str | None = "0009"
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None

_ENDS = "'completed', 'lost', 'preempted', 'drained', 'paused', 'cancelled', 'stalled', 'oom'"


def upgrade() -> None:
    op.add_column("workers", sa.Column("shortage", JSONB(none_as_null=True), nullable=True))
    op.add_column(
        "workers", sa.Column("disk_failures", sa.Integer(), server_default="0", nullable=False)
    )
    op.add_column("workers", sa.Column("held_until", sa.DateTime(timezone=True), nullable=True))
    op.add_column("workers", sa.Column("clock_ahead_seconds", sa.Float(), nullable=True))
    _allow_ends(f"{_ENDS}, 'disk', 'error'")


def downgrade() -> None:
    op.execute("""UPDATE attempts SET "end" = 'error' WHERE "end" = 'disk'""")
    _allow_ends(f"{_ENDS}, 'error'")
    for column in ("clock_ahead_seconds", "held_until", "disk_failures", "shortage"):
        op.drop_column("workers", column)


def _allow_ends(ends: str) -> None:
    # Its name since the first migration, which the naming convention has prefixed once more.
    name = op.f("ck_attempts_ck_attempts_end")
    op.drop_constraint(name, "attempts", type_="check")
    op.create_check_constraint(name, "attempts", f'"end" IN ({ends})')
