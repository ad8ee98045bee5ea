"""Which packages of plugins a job needs, and which a worker has."""

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import ARRAY

revision: str = "0046"
down_revision: str | None = "0045"
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None


def upgrade() -> None:
    for table in ("jobs", "workers"):
        op.add_column(
            table,
            sa.Column(
                "packages", ARRAY(sa.Text()), server_default=sa.text("'{}'::text[]"), nullable=False
            ),
        )


def downgrade() -> None:
    for table in ("workers", "jobs"):
        op.drop_column(table, "packages")
