"""Result rows as the store reads them, made by a trainer whose true means are known."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import numpy as np

from store.results.result_rows import ResultRow
from studies.comparison.compare import compare
from studies.comparison.evidence import gather_evidence
from studies.comparison.schemas import Comparison
from studies.spec.expand import expand
from studies.spec.study import StudySpec, read_study

FACTS: dict[str, Any] = {
    "weight_parameters": 1000,
    "bias_parameters": 10,
    "norm_parameters": 0,
    "decayed_norm_parameters": 0,
    "decayed_bias_parameters": 0,
    "examples_per_step": 64,
    "total_steps": 100,
    "schedule": "a constant",
    "train_size": 800,
    "val_size": 200,
    "test_size": 200,
    "test_is_cut": 1,
    "data": "digits",
    "split": "a cut",
    "chance_accuracy": 0.1,
    "chance_loss": 2.3,
}
ENVIRONMENT: dict[str, str] = {
    "code": "c0de",
    "python": "3.11.9",
    "torch": "2.14.1",
    "numpy": "2.4",
    "device": "cpu",
    "cpu": "a processor",
    "cpu_capability": "AVX2",
    "platform": "Linux x86_64",
    "threads": "1",
    "precision": "float32",
    "compiled": "False",
    "memory_format": "contiguous",
}
BASE: dict[str, Any] = {"dataset": {"name": "digits"}, "model": {"name": "mlp"}}


Variants = Sequence[str] | Mapping[str, dict[str, Any]]


def make_study(variants: Variants = ("none", "group"), **fields: Any) -> StudySpec:
    """Of these variants, the first the baseline; names alone are those of norms."""
    document = {
        "name": "s",
        "base": BASE,
        "variants": variants
        if isinstance(variants, Mapping)
        else {name: {"norm": NORMS[name]} for name in variants},
        "seeds": 10,
        **fields,
    }
    return read_study(document)


NORMS: dict[str, dict[str, Any]] = {
    "none": {"kind": "none"},
    "batch": {"kind": "batch"},
    "layer": {"kind": "layer"},
    "group": {"kind": "group", "groups": 8},
    "instance": {"kind": "instance"},
}


def make_row(number: int, variant: str, seed: int, value: float | None, **change: Any) -> ResultRow:
    """A finished job; validation is as good as test."""
    norm_parameters = 0 if variant == "none" else 64
    at = datetime(2026, 1, 2, 3, 4, tzinfo=UTC)
    fields: dict[str, Any] = {
        "job_id": number,
        "study_id": 1,
        "study": "s",
        "project": "default",
        "owner": "ann",
        "name": f"{variant} | seed {seed}",
        "variant": variant,
        "point": {},
        "trial": None,
        "seed": seed,
        "status": "succeeded",
        "reason": "completed",
        "metrics": {
            "test_accuracy": value,
            "best_val_accuracy": value,
            "epochs": 10.0,
            "best_epoch": 7.0,
        },
        "non_finite": {},
        "tags": [],
        "epochs": 10,
        "seconds": 5.0,
        "attempts": 1,
        "created_at": at,
        "started_at": at,
        "finished_at": at,
        "spec": {},
        "hash": "h",
        "facts": {**FACTS, "norm_parameters": norm_parameters},
        "environment": dict(ENVIRONMENT),
        "best_seconds": 3.5,
    }
    return ResultRow(**{**fields, **change})


def fake_rows(
    study: StudySpec,
    means: Callable[[str, Mapping[str, Any]], float],
    *,
    seed: int,
    shared: float = 0.02,
    own: float = 0.01,
) -> list[ResultRow]:
    """A row for each cell: its arm's true mean, what the job's seed does to all variants alike (standard
    deviation `shared`) and what is the cell's own (`own`)."""
    draw = np.random.default_rng(seed)
    by_seed = {one: draw.normal(0.0, shared) for one in study.seed_list}
    return [
        make_row(
            number,
            cell.variant,
            cell.seed,
            float(means(cell.variant, cell.point) + by_seed[cell.seed] + draw.normal(0.0, own)),
            point=cell.point,
            spec=cell.spec.model_dump(mode="json"),
        )
        for number, cell in enumerate(expand(study), start=1)
    ]


def compare_rows(
    study: StudySpec, rows: Iterable[ResultRow], metric: str | None = None, **known: Any
) -> Comparison:
    """The comparison over these rows; `known` is what else `gather_evidence` takes."""
    return compare(gather_evidence(study, rows, metric=metric, **known))


def change(row: ResultRow, part: str, **values: Any) -> None:
    """Of one row's facts, environment or metrics, which are its own."""
    getattr(row, part).update(values)


def alter(rows: list[ResultRow], chosen: Iterable[ResultRow], **values: Any) -> None:
    """Replaces the chosen rows of the list by rows with other values."""
    numbers = {row.job_id for row in chosen}
    rows[:] = [replace(row, **values) if row.job_id in numbers else row for row in rows]
