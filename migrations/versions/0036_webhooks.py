"""People are told when their studies end."""

from collections.abc import Sequence
from typing import Any

import sqlalchemy as sa
from alembic import op

revision: str = "0036"
down_revision: str | None = "0035"
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None


def upgrade() -> None:
    _create(
        "webhooks",
        {
            "user_id": ("users", False),
            "token_id": ("tokens", False),
            "study_id": ("studies", True),
            "project_id": ("projects", True),
        },
        sa.Column("url", sa.Text(), nullable=False),
        sa.Column("format", sa.Text(), nullable=False),
        sa.Column("secret", sa.Text(), nullable=False),
        _time("created_at", sa.text("now()")),
        _time("expires_at"),
        sa.CheckConstraint("format IN ('standard', 'slack')", name="format"),
        sa.CheckConstraint("study_id IS NULL OR project_id IS NULL", name="subject"),
    )
    _create("ended_jobs", {"job_id": ("jobs", False)})
    _create(
        "deliveries",
        {
            "webhook_id": ("webhooks", False),
            "study_id": ("studies", True),
            "job_id": ("jobs", True),
        },
        sa.Column("message_id", sa.Text(), nullable=False),
        sa.Column("event", sa.Text(), nullable=False),
        sa.Column("body", sa.Text(), nullable=False),
        _time("created_at", sa.text("now()")),
        sa.Column("attempts", sa.BigInteger(), server_default="0", nullable=False),
        _time("next_at", sa.text("now()")),
        sa.Column("error", sa.Text()),
        _time("delivered_at"),
        _time("given_up_at"),
        sa.UniqueConstraint("message_id", name=op.f("uq_deliveries_message_id")),
        sa.UniqueConstraint("webhook_id", "event", name=op.f("uq_deliveries_webhook_id_event")),
    )
    waits = sa.text("delivered_at IS NULL AND given_up_at IS NULL")
    op.create_index(
        "ix_deliveries_waiting", "deliveries", ["next_at", "id"], postgresql_where=waits
    )


def downgrade() -> None:
    for table in ("deliveries", "ended_jobs", "webhooks"):
        op.drop_table(table)


def _create(table: str, owners: dict[str, tuple[str, bool]], *columns: Any) -> None:
    """`owners`: by column the table that it names, whose rows take this one's along, and whether it may be NULL."""
    op.create_table(
        table,
        sa.Column("id", sa.BigInteger(), sa.Identity(), nullable=False),
        *(
            sa.Column(name, sa.BigInteger(), nullable=nullable)
            for name, (_, nullable) in owners.items()
        ),
        *columns,
        *(
            sa.ForeignKeyConstraint(
                [name], [f"{owner}.id"], name=op.f(f"fk_{table}_{name}_{owner}"), ondelete="CASCADE"
            )
            for name, (owner, _) in owners.items()
        ),
        sa.PrimaryKeyConstraint("id", name=op.f(f"pk_{table}")),
    )
    # The deliveries of a webhook are found by their constraint.
    for name in owners.keys() - {"webhook_id"}:
        op.create_index(f"ix_{table}_{name}", table, [name])


def _time(name: str, default: Any = None) -> Any:
    return sa.Column(
        name, sa.DateTime(timezone=True), server_default=default, nullable=default is None
    )
