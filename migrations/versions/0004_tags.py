"""What people say of jobs and studies: tags, notes, and that they are out of the way."""

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import JSONB

revision: str = "0004"
down_revision: str | None = "0003"
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None


def upgrade() -> None:
    for table in ("jobs", "studies"):
        op.add_column(
            table, sa.Column("tags", JSONB(), server_default=sa.text("'[]'::jsonb"), nullable=False)
        )
        op.add_column(table, sa.Column("note", sa.Text(), server_default="", nullable=False))
        op.add_column(table, sa.Column("archived_at", sa.DateTime(timezone=True), nullable=True))


def downgrade() -> None:
    for table in ("studies", "jobs"):
        op.drop_column(table, "archived_at")
        op.drop_column(table, "note")
        op.drop_column(table, "tags")
