"""Attempts are counted by their ends without reading their rows."""

from collections.abc import Sequence

from alembic import op

revision: str = "0035"
down_revision: str | None = "0034"
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None


def upgrade() -> None:
    op.create_index("ix_attempts_end", "attempts", ["end"])


def downgrade() -> None:
    op.drop_index("ix_attempts_end", table_name="attempts")
