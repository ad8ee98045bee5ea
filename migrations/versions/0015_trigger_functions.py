"""Only triggers execute the functions that write results, and the planner knows the new table."""

from collections.abc import Sequence

from alembic import op

revision: str = "0015"
down_revision: str | None = "0014"
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None

_FUNCTIONS = "add_results(), replace_result(), change_result()"


def upgrade() -> None:
    # A trigger needs no right to its function. Whoever has it could attach the function, which writes results with
    # the owner's rights, to a table of their own.
    op.execute(f"REVOKE EXECUTE ON FUNCTION {_FUNCTIONS} FROM PUBLIC")
    # Filled by the migration before: until autovacuum comes by, nobody would know how many rows there are.
    op.execute("ANALYZE results")


def downgrade() -> None:
    op.execute(f"GRANT EXECUTE ON FUNCTION {_FUNCTIONS} TO PUBLIC")
