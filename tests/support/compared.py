"""Jobs as they are read to be compared side by side."""

from typing import Any

from store.results import ComparedJob, ResultRow
from tests.support.factories import make_spec
from tests.support.result_rows import ENVIRONMENT, FACTS

METRIC = "best_val_accuracy"


def make_compared(
    number: int, value: float | None, *, by: dict[str, Any] | None = None, **parts: Any
) -> ComparedJob:
    """A job that has ended, of a small spec with these parts; its column `by` are parts of its own."""
    spec = make_spec(**parts).model_dump(mode="json")
    return ComparedJob(
        job_id=number,
        study_id=None,
        variant=None,
        point={},
        seed=spec["seed"],
        status="succeeded",
        reason="completed",
        metrics={METRIC: value},
        spec=spec,
        facts=dict(FACTS),
        environment=dict(ENVIRONMENT),
        declared=None,
        tuned=None,
        by=by or {},
    )


def as_compared(row: ResultRow, study_id: int, variants: dict[str, Any]) -> ComparedJob:
    """The job of a study's result row."""
    return ComparedJob(
        job_id=row.job_id,
        study_id=study_id,
        variant=row.variant,
        point=row.point,
        seed=row.seed,
        status=row.status,
        reason=row.reason,
        metrics=row.metrics,
        spec=row.spec,
        facts=row.facts,
        environment=row.environment,
        declared=variants[row.variant],
        tuned=None,
        by={},
    )
