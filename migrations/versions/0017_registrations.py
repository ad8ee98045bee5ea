"""The jobs that decode datasets are found without looking through the trainings on them."""

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op

revision: str = "0017"
down_revision: str | None = "0016"
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None


def upgrade() -> None:
    op.create_index(
        "ix_jobs_registrations",
        "jobs",
        ["dataset_id", "id"],
        postgresql_where=sa.text("kind = 'dataset'"),
    )


def downgrade() -> None:
    op.drop_index("ix_jobs_registrations", table_name="jobs")
