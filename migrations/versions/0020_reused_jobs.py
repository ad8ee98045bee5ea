"""Jobs that are answered by an equal one, or wait for it; what workers would train with."""

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import JSONB

revision: str = "0020"
down_revision: str | None = "0019"
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None

_CLAIMABLE = ["owner_id", "priority", "device", "queued_at", "id"]


def upgrade() -> None:
    op.add_column(
        "workers",
        sa.Column("offers", JSONB(), server_default=sa.text("'[]'::jsonb"), nullable=False),
    )
    op.add_column(
        "jobs", sa.Column("may_reuse", sa.Boolean(), server_default="false", nullable=False)
    )
    for name in ("reused_from", "waits_for"):
        op.add_column("jobs", sa.Column(name, sa.BigInteger(), nullable=True))
        op.create_foreign_key(op.f(f"fk_jobs_{name}_jobs"), "jobs", "jobs", [name], ["id"])
        given = sa.text(f"{name} IS NOT NULL")
        op.create_index(f"ix_jobs_{name}", "jobs", [name], postgresql_where=given)
    op.create_index("ix_jobs_hash", "jobs", ["hash", "status", "id"])
    op.drop_index("ix_jobs_claimable", table_name="jobs")
    is_claimable = sa.text("status = 'queued' AND waits_for IS NULL")
    op.create_index("ix_jobs_claimable", "jobs", _CLAIMABLE, postgresql_where=is_claimable)


def downgrade() -> None:
    op.drop_index("ix_jobs_claimable", table_name="jobs")
    is_claimable = sa.text("status = 'queued'")
    op.create_index("ix_jobs_claimable", "jobs", _CLAIMABLE, postgresql_where=is_claimable)
    op.drop_index("ix_jobs_hash", table_name="jobs")
    for name in ("waits_for", "reused_from", "may_reuse"):
        op.drop_column("jobs", name)
    op.drop_column("workers", "offers")
