"""Views that notebooks and BI tools may rely on, and the role that reads nothing else."""

from collections.abc import Sequence
from pathlib import Path

from alembic import op

revision: str = "0005"
down_revision: str | None = "0004"
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None

VIEWS = ("v_jobs", "v_epochs", "v_variants")
ROLE = "normlab_reader"

_FILE = Path(__file__).parents[1] / "views" / "v1.sql"
# Roles belong to the whole server: another database of it may have made this one, or may still need it.
GRANT = f"""
DO $$
BEGIN
  IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = '{ROLE}') THEN
    CREATE ROLE {ROLE} NOLOGIN;
  END IF;
EXCEPTION
  WHEN duplicate_object OR unique_violation THEN NULL;
  WHEN insufficient_privilege THEN
    RAISE NOTICE 'this user may not create the role {ROLE}; the views are there, but nobody else may read them';
END $$;
DO $$
BEGIN
  IF EXISTS (SELECT FROM pg_roles WHERE rolname = '{ROLE}') THEN
    GRANT SELECT ON {", ".join(VIEWS)} TO {ROLE};
  END IF;
END $$;
"""  # noqa: S608 - our own names


def upgrade() -> None:
    op.execute(_FILE.read_text())
    op.execute(GRANT)


def downgrade() -> None:
    for view in reversed(VIEWS):
        op.execute(f"DROP VIEW {view}")
