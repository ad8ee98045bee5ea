"""Webhooks whose messages are mail."""

from collections.abc import Sequence

from alembic import op

revision: str = "0040"
down_revision: str | None = "0039"
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None


def upgrade() -> None:
    _allow("'standard', 'slack', 'mail'")


def downgrade() -> None:
    op.execute("DELETE FROM webhooks WHERE format = 'mail'")
    _allow("'standard', 'slack'")


def _allow(formats: str) -> None:
    op.drop_constraint(op.f("ck_webhooks_format"), "webhooks")
    op.create_check_constraint(op.f("ck_webhooks_format"), "webhooks", f"format IN ({formats})")
