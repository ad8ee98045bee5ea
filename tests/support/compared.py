"""Jobs as they are read to be compared side by side."""

import dataclasses
from typing import Any

import numpy as np

from store.results import ComparedJob, ResultRow
from studies.results import ComparedGroup, SideBySide, compare_sides, group_by_fields
from tests.support.factories import make_spec
from tests.support.result_rows import ENVIRONMENT, FACTS, NORMS

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


NUMBERS = np.random.default_rng(7)


def plant(norms: dict[str, list[float | None]], **parts: Any) -> list[ComparedJob]:
    """For each norm a job at every seed; the ids go on through all of them."""
    return [
        make_compared(
            100 * number + seed, value, by={"norm.kind": norm}, norm=NORMS[norm], seed=seed, **parts
        )
        for number, (norm, values) in enumerate(norms.items())
        for seed, value in enumerate(values)
    ]


def compare(jobs: list[ComparedJob], reference: str | None = "none", *by: str) -> SideBySide:
    return compare_sides(
        group_by_fields(jobs), METRIC, by=by or ("norm.kind",), reference=reference
    )


def group_of(found: SideBySide, name: str) -> ComparedGroup:
    return next(group for group in found.groups if group.name == name)


def change(jobs: list[ComparedJob], number: int, **values: Any) -> None:
    jobs[:] = [dataclasses.replace(job, **values) if job.job_id == number else job for job in jobs]


def draw(mean: float, count: int = 10) -> list[float | None]:
    return [float(value) for value in NUMBERS.normal(mean, 0.01, count)]
