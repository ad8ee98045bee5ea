"""Jobs and studies know the trace of the request that submitted them."""

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op

revision: str = "0037"
down_revision: str | None = "0036"
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None

_TABLES = ("jobs", "studies")


def upgrade() -> None:
    for table in _TABLES:
        op.add_column(table, sa.Column("trace_context", sa.Text()))


def downgrade() -> None:
    for table in _TABLES:
        op.drop_column(table, "trace_context")
