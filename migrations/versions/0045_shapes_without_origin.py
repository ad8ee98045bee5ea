"""A job that begins from another job's weights takes as long as one that doesn't: where from is no part of its shape."""

from collections.abc import Sequence

from alembic import op

revision: str = "0045"
down_revision: str | None = "0044"
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None

_SHAPE_OF = """
    CREATE OR REPLACE FUNCTION shape_of(spec jsonb) RETURNS text LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
    SELECT md5((
        (spec - '{{{left_out}}}'::text[])
        #- '{{dataset,split_seed}}' #- '{{optimizer,lr}}'
        #- '{{training,epochs}}' #- '{{training,steps}}' #- '{{training,checkpoint_seconds}}'
        || CASE WHEN (spec #>> '{{resources,devices}}')::int > 1
            THEN jsonb_build_object('devices', spec #> '{{resources,devices}}') ELSE '{{}}' END
    )::text) $$
"""
_LEFT_OUT = "version,seed,project,resources,init,schedule,early_stopping"
#: Those that run alone have none.
_FILL = """
    UPDATE jobs SET shape = shape_of(spec)
    WHERE status IN ('queued', 'running', 'paused') AND shape <> '' AND spec ? 'init_from'
"""


def upgrade() -> None:
    _define(f"{_LEFT_OUT},init_from")


def downgrade() -> None:
    _define(_LEFT_OUT)


def _define(left_out: str) -> None:
    op.execute(_SHAPE_OF.format(left_out=left_out))
    op.execute("REINDEX INDEX ix_jobs_shape")
    op.execute(_FILL)
