"""How many devices share a batch decides how long a step takes, too."""

from collections.abc import Sequence

from alembic import op

revision: str = "0025"
down_revision: str | None = "0024"
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None

_SHAPE_OF = """
    CREATE OR REPLACE FUNCTION shape_of(spec jsonb) RETURNS text LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
    SELECT md5((
        (spec - '{{version,seed,project,resources,init,schedule,early_stopping}}'::text[])
        #- '{{dataset,split_seed}}' #- '{{optimizer,lr}}'
        #- '{{training,epochs}}' #- '{{training,steps}}' #- '{{training,checkpoint_seconds}}'
        {devices}
    )::text) $$
"""
#: One device is no part of the shape, so that shapes stay what they were.
_DEVICES = """|| CASE WHEN (spec #>> '{resources,devices}')::int > 1
            THEN jsonb_build_object('devices', spec #> '{resources,devices}') ELSE '{}' END"""


def upgrade() -> None:
    op.execute(_SHAPE_OF.format(devices=_DEVICES))
    op.execute("REINDEX INDEX ix_jobs_shape")


def downgrade() -> None:
    op.execute(_SHAPE_OF.format(devices=""))
    op.execute("REINDEX INDEX ix_jobs_shape")
