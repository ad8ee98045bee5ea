"""What a token may be used for: all that its user may do, or only to read."""

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op

revision: str = "0031"
down_revision: str | None = "0030"
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None


def upgrade() -> None:
    op.add_column("tokens", sa.Column("scope", sa.Text(), server_default="all", nullable=False))
    op.create_check_constraint(op.f("ck_tokens_scope"), "tokens", "scope IN ('all', 'read')")


def downgrade() -> None:
    op.drop_constraint(op.f("ck_tokens_scope"), "tokens")
    # Older versions know no such limit: who had a token that only reads gets no more than that by going back.
    op.execute("UPDATE tokens SET revoked_at = coalesce(revoked_at, now()) WHERE scope = 'read'")
    op.drop_column("tokens", "scope")
