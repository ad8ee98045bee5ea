"""What each role and each person may have of the machines at most."""

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op

revision: str = "0019"
down_revision: str | None = "0018"
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None


def upgrade() -> None:
    op.create_table(
        "limits",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=False), nullable=False),
        sa.Column("role", sa.Text(), nullable=True),
        sa.Column("user_id", sa.BigInteger(), nullable=True),
        sa.Column("running", sa.BigInteger(), nullable=True),
        sa.Column("queued", sa.BigInteger(), nullable=True),
        sa.Column("device_seconds_per_day", sa.Float(), nullable=True),
        sa.Column("timeout_seconds", sa.Float(), nullable=True),
        sa.Column("priority", sa.BigInteger(), nullable=True),
        sa.CheckConstraint("num_nonnulls(role, user_id) = 1", name=op.f("ck_limits_one_subject")),
        sa.CheckConstraint("role IN ('admin', 'member', 'viewer')", name=op.f("ck_limits_role")),
        sa.ForeignKeyConstraint(["user_id"], ["users.id"], name=op.f("fk_limits_user_id_users")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_limits")),
        sa.UniqueConstraint("role", name=op.f("uq_limits_role")),
        sa.UniqueConstraint("user_id", name=op.f("uq_limits_user_id")),
    )
    op.add_column("usage", sa.Column("day_seconds", sa.Float(), server_default="0", nullable=False))
    # Of the attempts that ended today, the part since midnight; without, until their day is over people could use
    # what they have used already once more.
    op.execute(
        """
        UPDATE usage SET day_seconds = today.seconds
        FROM (
            SELECT owner_id, sum(extract(epoch FROM ended_at - greatest(attempts.started_at,
                date_trunc('day', now(), 'UTC')))::float8 * devices) AS seconds
            FROM attempts JOIN jobs ON jobs.id = attempts.job_id
            WHERE ended_at >= date_trunc('day', now(), 'UTC') GROUP BY owner_id
        ) AS today
        WHERE today.owner_id = usage.owner_id
        """
    )


def downgrade() -> None:
    op.drop_column("usage", "day_seconds")
    op.drop_table("limits")
