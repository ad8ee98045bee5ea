"""What jobs were expected to take when they were submitted; what they took of memory; their shapes, to compare by."""

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op

revision: str = "0023"
down_revision: str | None = "0022"
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None

_IS_TRAINED = "status = 'succeeded' AND kind = 'training' AND reused_from IS NULL"
#: Of a spec, what decides how long a step takes.
_SHAPE_OF = """
    CREATE FUNCTION shape_of(spec jsonb) RETURNS text LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
    SELECT md5((
        (spec - '{version,seed,project,resources,init,schedule,early_stopping}'::text[])
        #- '{dataset,split_seed}' #- '{optimizer,lr}'
        #- '{training,epochs}' #- '{training,steps}' #- '{training,checkpoint_seconds}'
    )::text) $$
"""


def upgrade() -> None:
    op.add_column("jobs", sa.Column("expected_seconds", sa.Float(), nullable=True))
    op.add_column("attempts", sa.Column("memory_bytes", sa.BigInteger(), nullable=True))
    op.execute(_SHAPE_OF)
    op.create_index(
        "ix_jobs_shape",
        "jobs",
        [sa.text("shape_of(spec)"), "id"],
        postgresql_where=sa.text(_IS_TRAINED),
    )
    is_billed = sa.text(f"{_IS_TRAINED} AND expected_seconds IS NOT NULL")
    op.create_index("ix_jobs_billed", "jobs", ["id"], postgresql_where=is_billed)


def downgrade() -> None:
    op.drop_index("ix_jobs_billed", table_name="jobs")
    op.drop_index("ix_jobs_shape", table_name="jobs")
    op.execute("DROP FUNCTION shape_of(jsonb)")
    op.drop_column("attempts", "memory_bytes")
    op.drop_column("jobs", "expected_seconds")
