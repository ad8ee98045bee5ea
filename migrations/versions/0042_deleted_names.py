"""Of a deleted dataset or project the name is remembered, so that a second request for it is answered like the first."""

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op

revision: str = "0042"
down_revision: str | None = "0041"
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None


def upgrade() -> None:
    op.add_column("deletions", sa.Column("name", sa.Text))
    op.create_index(
        "ix_deletions_name",
        "deletions",
        ["kind", "name"],
        postgresql_where=sa.text("name IS NOT NULL"),
    )


def downgrade() -> None:
    op.drop_index("ix_deletions_name", "deletions")
    op.drop_column("deletions", "name")
