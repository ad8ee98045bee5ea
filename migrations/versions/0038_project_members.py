"""Projects are open to everybody or private, and have members."""

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op

revision: str = "0038"
down_revision: str | None = "0037"
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None


def upgrade() -> None:
    op.add_column(
        "projects", sa.Column("visibility", sa.Text(), server_default="open", nullable=False)
    )
    op.create_check_constraint("visibility", "projects", "visibility IN ('open', 'private')")
    op.create_index(
        "ix_projects_private",
        "projects",
        ["id"],
        postgresql_where=sa.text("visibility = 'private'"),
    )
    op.create_table(
        "project_members",
        sa.Column("project_id", sa.BigInteger(), nullable=False),
        sa.Column("user_id", sa.BigInteger(), nullable=False),
        sa.Column("role", sa.Text(), nullable=False),
        sa.Column(
            "added_at",
            sa.DateTime(timezone=True),
            server_default=sa.text("now()"),
            nullable=False,
        ),
        sa.CheckConstraint("role IN ('admin', 'member', 'viewer')", name="role"),
        *(
            sa.ForeignKeyConstraint(
                [name],
                [f"{owner}.id"],
                name=op.f(f"fk_project_members_{name}_{owner}"),
                ondelete="CASCADE",
            )
            for name, owner in (("project_id", "projects"), ("user_id", "users"))
        ),
        sa.PrimaryKeyConstraint("project_id", "user_id", name=op.f("pk_project_members")),
    )
    op.create_index("ix_project_members_user_id", "project_members", ["user_id"])
    # Whoever has created a project is its admin.
    op.execute(
        "INSERT INTO project_members (project_id, user_id, role) SELECT id, owner_id, 'admin' FROM projects"
    )


def downgrade() -> None:
    op.drop_table("project_members")
    op.drop_index("ix_projects_private", "projects")
    op.drop_constraint(op.f("ck_projects_visibility"), "projects")
    op.drop_column("projects", "visibility")
