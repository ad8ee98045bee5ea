"""What a running job was asked to do is its requested action."""

from collections.abc import Sequence

from alembic import op

revision: str = "0012"
down_revision: str | None = "0011"
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None

_COLUMNS = {"wish": "requested_action", "wished_by": "requested_by"}
# The first migration's names went through the naming convention twice.
_CHECKS = {"ck_jobs_ck_jobs_wish": "ck_jobs_requested_action"}


def upgrade() -> None:
    for old, new in _COLUMNS.items():
        op.alter_column("jobs", old, new_column_name=new)
    for old, new in _CHECKS.items():
        _rename_check(old, new)


def downgrade() -> None:
    for old, new in _CHECKS.items():
        _rename_check(new, old)
    for old, new in _COLUMNS.items():
        op.alter_column("jobs", new, new_column_name=old)


def _rename_check(old: str, new: str) -> None:
    # Renamed, not made anew: a new check would read the whole table under an exclusive lock.
    op.execute(f"ALTER TABLE jobs RENAME CONSTRAINT {old} TO {new}")
