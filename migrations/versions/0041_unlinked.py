"""It is remembered whose account an administrator has unlinked from logins at a provider."""

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op

revision: str = "0041"
down_revision: str | None = "0040"
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None


def upgrade() -> None:
    op.add_column("users", sa.Column("unlinked_at", sa.DateTime(timezone=True)))


def downgrade() -> None:
    op.drop_column("users", "unlinked_at")
