"""Jobs, studies, datasets and projects can be deleted, with a mark that stays."""

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import JSONB

revision: str = "0034"
down_revision: str | None = "0033"
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None

#: What goes with its owner: by table, the columns that name it.
_BELONGING = {
    "attempts": ("job_id",),
    "epochs": ("job_id",),
    "diagnoses": ("job_id",),
    "checkpoints": ("job_id",),
    "log_lines": ("job_id",),
    "transitions": ("job_id",),
    "start_estimates": ("job_id",),
    "files": ("job_id", "study_id"),
    "verdicts": ("study_id",),
    "mirrored": ("job_id", "study_id"),
    "mirror_problems": ("job_id", "study_id", "project_id"),
}
_OWNERS = {"job_id": "jobs", "study_id": "studies", "project_id": "projects"}
_GUARDED = {"jobs": "job", "studies": "study", "datasets": "dataset", "projects": "project"}

# The owner of the tables, who can change all of this, may do what they want. The others delete what they have marked
# as deleted in the same transaction, or before.
_GUARD = """
CREATE FUNCTION ensure_marked() RETURNS trigger LANGUAGE plpgsql SET search_path = pg_catalog, public, pg_temp AS $$
BEGIN
  IF NOT EXISTS (SELECT FROM deletions WHERE kind = TG_ARGV[0] AND subject_id = OLD.id)
    AND NOT pg_has_role(current_user, (SELECT relowner FROM pg_class WHERE oid = TG_RELID), 'USAGE')
  THEN
    RAISE EXCEPTION '% % is not marked as deleted', TG_ARGV[0], OLD.id USING ERRCODE = 'insufficient_privilege';
  END IF;
  RETURN OLD;
END $$
"""


def upgrade() -> None:
    _create_deletions()
    for table, columns in _BELONGING.items():
        for column in columns:
            _refer(table, column, _OWNERS[column], "CASCADE")
    # It goes on saying which job answered another, whose files are kept, when that one is deleted.
    op.drop_constraint("fk_jobs_reused_from_jobs", "jobs")
    _refer("jobs", "waits_for", "jobs", "SET NULL")
    op.execute(_GUARD)
    op.execute("REVOKE EXECUTE ON FUNCTION ensure_marked() FROM PUBLIC")
    for table, kind in _GUARDED.items():
        op.execute(
            f"CREATE TRIGGER ensure_marked BEFORE DELETE ON {table} "
            f"FOR EACH ROW EXECUTE FUNCTION ensure_marked('{kind}')"
        )


def downgrade() -> None:
    for table in _GUARDED:
        op.execute(f"DROP TRIGGER ensure_marked ON {table}")
    op.execute("DROP FUNCTION ensure_marked()")
    _refer("jobs", "waits_for", "jobs", None)
    # What answered them is gone: they are as if they had been trained.
    op.execute(
        "UPDATE jobs SET reused_from = NULL "
        "WHERE reused_from IS NOT NULL AND NOT EXISTS (SELECT FROM jobs AS j WHERE j.id = jobs.reused_from)"
    )
    op.create_foreign_key("fk_jobs_reused_from_jobs", "jobs", "jobs", ["reused_from"], ["id"])
    for table, columns in _BELONGING.items():
        for column in columns:
            _refer(table, column, _OWNERS[column], None)
    op.drop_table("deletions")


def _create_deletions() -> None:
    op.create_table(
        "deletions",
        sa.Column("id", sa.BigInteger(), sa.Identity(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("subject_id", sa.BigInteger(), nullable=False),
        sa.Column("owner_id", sa.BigInteger()),
        sa.Column(
            "at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False
        ),
        sa.Column("seconds", sa.Float(), server_default="0", nullable=False),
        sa.Column("day_seconds", sa.Float(), server_default="0", nullable=False),
        sa.Column("source_id", sa.BigInteger()),
        sa.Column("digest", sa.Text()),
        sa.Column("mirrored", JSONB()),
        sa.Column("files_at", sa.DateTime(timezone=True)),
        sa.Column("runs_at", sa.DateTime(timezone=True)),
        sa.CheckConstraint("kind IN ('job', 'study', 'dataset', 'project')", name="kind"),
        sa.ForeignKeyConstraint(
            ["owner_id"], ["users.id"], name=op.f("fk_deletions_owner_id_users")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_deletions")),
        sa.UniqueConstraint("kind", "subject_id", name=op.f("uq_deletions_kind_subject_id")),
    )
    for name in ("files_at", "runs_at"):
        pending = sa.text(f"{name} IS NULL")
        op.create_index(f"ix_deletions_{name}", "deletions", ["id"], postgresql_where=pending)


def _refer(table: str, column: str, owner: str, on_delete: str | None) -> None:
    name = f"fk_{table}_{column}_{owner}"
    op.drop_constraint(name, table)
    op.create_foreign_key(name, table, owner, [column], ["id"], ondelete=on_delete)
