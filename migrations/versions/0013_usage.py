"""What each person has used is a sum that is kept, and the queue has indexes in its order."""

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op

revision: str = "0013"
down_revision: str | None = "0012"
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None

_QUEUED = sa.text("status = 'queued'")
#: Analysed after this share of their rows has changed, at least 500: the defaults, a tenth and a fifth, are
#: 10,000 jobs out of 100,000, a study that no statistics know of.
_FRESH = (
    "autovacuum_analyze_scale_factor = 0.01, autovacuum_analyze_threshold = 500, "
    "autovacuum_vacuum_scale_factor = 0.05, autovacuum_vacuum_insert_scale_factor = 0.05"
)
_STALE = (
    "autovacuum_analyze_scale_factor, autovacuum_analyze_threshold, autovacuum_vacuum_scale_factor, "
    "autovacuum_vacuum_insert_scale_factor"
)
_HOT_TABLES = ("jobs", "attempts", "epochs", "transitions", "leases")


def upgrade() -> None:
    _make_usage()
    _estimate_open_attempts()
    op.drop_index("ix_jobs_claimable", table_name="jobs")
    columns = ["owner_id", "priority", "device", "queued_at", "id"]
    op.create_index("ix_jobs_claimable", "jobs", columns, postgresql_where=_QUEUED)
    op.create_index(
        "ix_jobs_running",
        "jobs",
        ["started_at", "id"],
        postgresql_where=sa.text("status = 'running'"),
    )
    op.create_index(
        "ix_jobs_succeeded",
        "jobs",
        ["study_id", "finished_at"],
        postgresql_where=sa.text("status = 'succeeded'"),
    )
    op.create_index(
        "ix_attempts_open", "attempts", ["host"], postgresql_where=sa.text("ended_at IS NULL")
    )
    op.create_index(
        "ix_attempts_full_disk",
        "attempts",
        ["host", "ended_at"],
        postgresql_where=sa.text("\"end\" = 'disk'"),
    )
    op.drop_index("ix_attempts_ended_at", table_name="attempts")
    for table in _HOT_TABLES:
        op.execute(f"ALTER TABLE {table} SET ({_FRESH})")
        op.execute(f"ANALYZE {table}")


def downgrade() -> None:
    for table in _HOT_TABLES:
        op.execute(f"ALTER TABLE {table} RESET ({_STALE})")
    op.create_index("ix_attempts_ended_at", "attempts", ["ended_at"])
    for index in ("ix_attempts_full_disk", "ix_attempts_open"):
        op.drop_index(index, table_name="attempts")
    for index in ("ix_jobs_succeeded", "ix_jobs_running", "ix_jobs_claimable"):
        op.drop_index(index, table_name="jobs")
    op.create_index("ix_jobs_claimable", "jobs", ["queued_at"], postgresql_where=_QUEUED)
    op.drop_column("attempts", "expected_seconds")
    op.drop_table("usage")


def _make_usage() -> None:
    op.create_table(
        "usage",
        sa.Column("owner_id", sa.BigInteger(), nullable=False),
        sa.Column("seconds", sa.Float(), nullable=False),
        sa.Column("as_of", sa.DateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(["owner_id"], ["users.id"], name=op.f("fk_usage_owner_id_users")),
        sa.PrimaryKeyConstraint("owner_id", name=op.f("pk_usage")),
    )
    # Half of it is left after a day; no more than a thousand halvings, since power() refuses to underflow.
    op.execute(
        """
        INSERT INTO usage (owner_id, seconds, as_of)
        SELECT owner_id, sum(extract(epoch FROM ended_at - attempts.started_at)::float8 * devices
            * power(0.5::float8, least(extract(epoch FROM now() - ended_at)::float8 / 86400, 1000))), now()
        FROM attempts JOIN jobs ON jobs.id = attempts.job_id
        WHERE ended_at IS NOT NULL GROUP BY owner_id
        """
    )


def _estimate_open_attempts() -> None:
    op.add_column(
        "attempts",
        sa.Column("expected_seconds", sa.Float(), server_default="300", nullable=False),
    )
    op.execute(
        """
        UPDATE attempts SET expected_seconds = mean.seconds
        FROM jobs AS job, (
            SELECT study_id, avg(seconds_used) AS seconds FROM jobs
            WHERE status = 'succeeded' GROUP BY study_id
        ) AS mean
        WHERE attempts.ended_at IS NULL AND job.id = attempts.job_id AND mean.study_id = job.study_id
        """
    )
