"""What MLflow lacks and why, experiments by their id, and metrics under their present names."""

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op

revision: str = "0008"
down_revision: str | None = "0007"
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None

_OWNERS = ("job", "study", "project")
_TABLES = {"job": "jobs", "study": "studies", "project": "projects"}

#: The experiment that the latest run of a project went to.
_EXPERIMENTS = """
UPDATE projects SET experiment_id = (
  SELECT mirrored.experiment_id FROM mirrored
  LEFT JOIN jobs ON jobs.id = mirrored.job_id
  LEFT JOIN studies ON studies.id = mirrored.study_id
  WHERE projects.id IN (jobs.project_id, studies.project_id)
  ORDER BY mirrored.id DESC LIMIT 1
)
"""

#: Jobs with a metric that MLflow has under another name than it would get now are sent again. The points
#: under the old name stay: MLflow deletes no metric.
_SEND_AGAIN = """
UPDATE mirrored SET seen_at = NULL FROM jobs
WHERE jobs.id = mirrored.job_id AND jobs.finished_at IS NOT NULL AND EXISTS (
  SELECT FROM jsonb_object_keys(jobs.metrics || jobs.non_finite) AS name
  WHERE name ~ '^(best|test)_|_(loss|accuracy|cost)$' AND name NOT IN (
    'best_epoch', 'best_train_loss', 'best_train_cost', 'best_train_accuracy', 'best_val_loss',
    'best_val_accuracy', 'test_loss', 'test_accuracy'
  )
)
"""


def upgrade() -> None:
    op.add_column("projects", sa.Column("experiment_id", sa.Text(), nullable=True))
    op.create_table(
        "mirror_problems",
        sa.Column("id", sa.BigInteger(), sa.Identity(), nullable=False),
        *(sa.Column(f"{owner}_id", sa.BigInteger(), nullable=True) for owner in _OWNERS),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("attempts", sa.Integer(), nullable=False),
        sa.Column(
            "since", sa.DateTime(timezone=True), server_default=sa.func.now(), nullable=False
        ),
        sa.Column("next_at", sa.DateTime(timezone=True), nullable=True),
        sa.CheckConstraint(
            "kind IN ('run', 'files', 'model', 'deleted', 'experiment')", name="kind"
        ),
        sa.CheckConstraint("num_nonnulls(job_id, study_id, project_id) = 1", name="one_owner"),
        *(
            sa.ForeignKeyConstraint(
                [f"{owner}_id"],
                [f"{_TABLES[owner]}.id"],
                name=op.f(f"fk_mirror_problems_{owner}_id_{_TABLES[owner]}"),
            )
            for owner in _OWNERS
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_mirror_problems")),
        *(
            sa.UniqueConstraint(
                f"{owner}_id", "kind", name=op.f(f"uq_mirror_problems_{owner}_id_kind")
            )
            for owner in _OWNERS
        ),
    )
    op.execute(_EXPERIMENTS)
    op.execute(_SEND_AGAIN)


def downgrade() -> None:
    op.drop_table("mirror_problems")
    op.drop_column("projects", "experiment_id")
