"""Trials of a study's tuning, and what they came to."""

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import JSONB

revision: str = "0006"
down_revision: str | None = "0005"
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None


def upgrade() -> None:
    op.add_column("jobs", sa.Column("trial", JSONB(none_as_null=True), nullable=True))
    op.add_column("studies", sa.Column("tuning", JSONB(none_as_null=True), nullable=True))


def downgrade() -> None:
    op.drop_column("studies", "tuning")
    op.drop_column("jobs", "trial")
