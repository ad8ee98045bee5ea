"""Which token a token was made with."""

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op

revision: str = "0011"
down_revision: str | None = "0010"
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None


def upgrade() -> None:
    op.add_column("tokens", sa.Column("parent_id", sa.BigInteger(), nullable=True))
    op.create_foreign_key(
        op.f("fk_tokens_parent_id_tokens"),
        "tokens",
        "tokens",
        ["parent_id"],
        ["id"],
        ondelete="SET NULL",
    )
    op.create_index(op.f("ix_tokens_parent_id"), "tokens", ["parent_id"])


def downgrade() -> None:
    op.drop_index(op.f("ix_tokens_parent_id"), table_name="tokens")
    op.drop_constraint(op.f("fk_tokens_parent_id_tokens"), "tokens", type_="foreignkey")
    op.drop_column("tokens", "parent_id")
