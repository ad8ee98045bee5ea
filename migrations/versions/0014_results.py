"""A narrow row per training job, kept by triggers, that queries over the whole history read."""

from collections.abc import Sequence
from typing import Any

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import JSONB

revision: str = "0014"
down_revision: str | None = "0013"
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None


def _number(document: str, name: str) -> str:
    """A number of a document, NULL for anything else that stands there."""
    value = f"{document} -> '{name}'"
    return f"CASE jsonb_typeof({value}) WHEN 'number' THEN ({value})::float8 END"


def _kinds(document: str) -> str:
    path = '$[*]."kind" ? (@ != null)'
    return f"coalesce(jsonb_path_query_array({document}, '{path}'), '[]')"


# jsonb writes its keys in one order, so that equal documents have equal texts. The digest guards nothing:
# hence md5, 16 bytes as a uuid.
_ENTRY = "jobs.spec - '{seed,project,resources}'::text[]"
_CUT = "- 'split_seed'"

#: By column of `results`, of a job as `jobs` and the parts of its spec as `part`.
_VALUES = {
    "job_id": "jobs.id",
    "study_id": "jobs.study_id",
    "project_id": "jobs.project_id",
    "owner_id": "jobs.owner_id",
    "dataset_id": "jobs.dataset_id",
    "seed": "jobs.seed",
    "is_trial": "jobs.trial IS NOT NULL",
    "archived": "jobs.archived_at IS NOT NULL",
    "created_at": "jobs.created_at",
    "started_at": "jobs.started_at",
    "finished_at": "jobs.finished_at",
    "status": "jobs.status",
    "reason": "jobs.reason",
    "best_val_accuracy": _number("jobs.metrics", "best_val_accuracy"),
    "best_val_loss": _number("jobs.metrics", "best_val_loss"),
    "best_epoch": _number("jobs.metrics", "best_epoch"),
    "test_accuracy": _number("jobs.metrics", "test_accuracy"),
    "test_loss": _number("jobs.metrics", "test_loss"),
    "chance_accuracy": _number("jobs.facts", "chance_accuracy"),
    "chance_loss": _number("jobs.facts", "chance_loss"),
    "norm_kind": "part.norm ->> 'kind'",
    "dataset_name": "part.dataset ->> 'name'",
    "dataset_train_size": _number("part.dataset", "train_size"),
    "dataset_label_noise": _number("part.dataset", "label_noise"),
    "model_name": "part.model ->> 'name'",
    "model_width": _number("part.model", "width"),
    "model_depth": _number("part.model", "depth"),
    "optimizer_kind": "part.optimizer ->> 'kind'",
    "optimizer_lr": _number("part.optimizer", "lr"),
    "optimizer_momentum": _number("part.optimizer", "momentum"),
    "training_batch_size": _number("part.training", "batch_size"),
    "training_epochs": _number("part.training", "epochs"),
    "task_kind": "part.task ->> 'kind'",
    "weights_kind": "part.weights ->> 'kind'",
    "schedule_kind": "part.schedule ->> 'kind'",
    "early_stopping_kind": "part.early_stopping ->> 'kind'",
    "regularization_kind": _kinds("part.regularization"),
    "augmentation_kind": _kinds("part.augmentation"),
    "entry": f"md5(({_ENTRY})::text)::uuid",
    "board": "md5(jsonb_build_array(part.dataset, part.task)::text)::uuid",
    "resampled_entry": f"md5((({_ENTRY}) #- '{{dataset,split_seed}}')::text)::uuid",
    "resampled_board": f"md5(jsonb_build_array(part.dataset {_CUT}, part.task)::text)::uuid",
    "tags": "jobs.tags",
    "variant": "jobs.variant",
    "name": "jobs.name",
}
_PARTS = (
    "dataset", "task", "model", "norm", "weights", "optimizer", "schedule", "training",
    "early_stopping", "regularization", "augmentation",
)  # fmt: skip
#: What changes of a job after it was made. Not its step, attempt and seconds: epochs and heartbeats cost nothing here.
_CHANGING = (
    "study_id", "project_id", "owner_id", "dataset_id", "name", "variant", "seed", "trial", "status", "reason",
    "metrics", "facts", "tags", "archived_at", "created_at", "started_at", "finished_at",
)  # fmt: skip


def upgrade() -> None:
    _create_table()
    columns = ", ".join(_VALUES)
    op.execute(f"INSERT INTO results ({columns}) {_select('jobs')}")
    _create_indexes()
    _create_trigger(
        "add_results",
        f"INSERT INTO results ({columns}) {_select('inserted')}",
        "AFTER INSERT ON jobs REFERENCING NEW TABLE AS inserted FOR EACH STATEMENT",
    )
    # A spec never changes; should somebody change one by hand, the whole row is made anew.
    _create_trigger(
        "replace_result",
        "DELETE FROM results WHERE job_id = NEW.id; "  # noqa: S608
        f"INSERT INTO results ({columns}) {_select('(SELECT NEW.*)')}",
        "AFTER UPDATE OF spec, kind ON jobs FOR EACH ROW",
    )
    changes = ", ".join(
        f"{name} = {value.replace('jobs.', 'NEW.')}"
        for name, value in _VALUES.items()
        if name != "job_id" and "part." not in value and "jobs.spec" not in value
    )
    before, after = (", ".join(f"{row}.{name}" for name in _CHANGING) for row in ("OLD", "NEW"))
    _create_trigger(
        "change_result",
        f"UPDATE results SET {changes} WHERE job_id = NEW.id",  # noqa: S608
        f"AFTER UPDATE OF {', '.join(_CHANGING)} ON jobs FOR EACH ROW "
        f"WHEN (({before}) IS DISTINCT FROM ({after}))",
    )


def downgrade() -> None:
    for name in ("change_result", "replace_result", "add_results"):
        op.execute(f"DROP TRIGGER {name} ON jobs")
        op.execute(f"DROP FUNCTION {name}()")
    op.drop_table("results")


def _select(source: str) -> str:
    # The spec is unpacked once for all of its parts, not once for each value.
    parts = ", ".join(f"{name} jsonb" for name in _PARTS)
    return (
        f"SELECT {', '.join(_VALUES.values())} FROM {source} AS jobs "  # noqa: S608
        f"CROSS JOIN LATERAL jsonb_to_record(jobs.spec) AS part({parts}) "
        "WHERE jobs.kind = 'training'"
    )


def _create_trigger(name: str, body: str, event: str) -> None:
    # SECURITY DEFINER: who changes jobs, the API and the workers, may not write results by themselves. Hence the
    # fixed path, in which nobody else can put a table of that name.
    op.execute(
        f"CREATE FUNCTION {name}() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER "
        f"SET search_path = public, pg_temp AS $$ BEGIN {body}; RETURN NULL; END $$"
    )
    op.execute(f"CREATE TRIGGER {name} {event} EXECUTE FUNCTION {name}()")


def _create_table() -> None:
    op.create_table(
        "results",
        *(_column(name, value) for name, value in _VALUES.items()),
        sa.ForeignKeyConstraint(
            ["job_id"], ["jobs.id"], name=op.f("fk_results_job_id_jobs"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("job_id", name=op.f("pk_results")),
    )


def _column(name: str, value: str) -> sa.Column[Any]:
    type_: sa.types.TypeEngine[Any] = sa.Text()
    if name in ("seed", "job_id", "study_id", "project_id", "owner_id", "dataset_id"):
        type_ = sa.BigInteger()
    elif name.endswith("_at"):
        type_ = sa.DateTime(timezone=True)
    elif "::float8" in value:
        type_ = sa.Double()
    elif "::uuid" in value:
        type_ = sa.Uuid()
    elif "NOT NULL" in value:
        type_ = sa.Boolean()
    elif "coalesce" in value or name == "tags":
        type_ = JSONB()
    # Texts and numbers of documents may be missing, and of a job's own columns these.
    optional = ("study_id", "project_id", "started_at", "finished_at", "reason", "variant")
    nullable = name in optional or value.endswith(("END", "'kind'", "'name'"))
    return sa.Column(name, type_, nullable=nullable, autoincrement=False)


def _create_indexes() -> None:
    for owner in ("study_id", "project_id"):
        op.create_index(f"ix_results_{owner}_job_id", "results", [owner, "job_id"])
    for metric, direction in (
        ("best_val_accuracy", "DESC"),
        ("best_val_loss", "ASC"),
        ("test_accuracy", "DESC"),
        ("test_loss", "ASC"),
    ):
        order = [sa.text(f"{metric} {direction} NULLS LAST"), sa.text("job_id DESC")]
        op.create_index(f"ix_results_{metric}", "results", order)
