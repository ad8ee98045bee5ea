"""The arms of a study, a variant at a matrix point each, and what their jobs count with.

A diverged job counts with what its best checkpoint on validation reached, else with what guessing would
score: it is a result. A job that failed, was cancelled or isn't finished has no value, and withholds the
verdict. Nothing is dropped.
"""

import json
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Protocol

from store.results import ResultRow
from studies.spec import arm_name


class Outcome(Protocol):
    """What became of a job: all that its score rests on."""

    @property
    def status(self) -> str: ...
    @property
    def reason(self) -> str | None: ...
    @property
    def metrics(self) -> Mapping[str, float | None]: ...
    @property
    def facts(self) -> Mapping[str, Any] | None: ...


@dataclass(frozen=True, slots=True)
class Score:
    """`value` is a finite number, or None."""

    value: float | None
    at_chance: bool = False


@dataclass(frozen=True)
class Arm:
    """The jobs of a variant at a point, in the order in which they were made, and what each counts with."""

    variant: str
    point: dict[str, Any]
    rows: dict[int, ResultRow]
    metric: str
    scores: dict[int, Score] = field(repr=False)

    @cached_property
    def name(self) -> str:
        return arm_name(self.variant, self.point)

    @cached_property
    def place(self) -> str:
        """The same for all arms at one point."""
        return json.dumps(self.point, sort_keys=True)

    @cached_property
    def values(self) -> dict[int, float]:
        """By seed; those that have none are not there."""
        return {seed: one.value for seed, one in self.scores.items() if one.value is not None}

    @cached_property
    def affected(self) -> frozenset[int]:
        """Seeds at which a job failed, diverged or isn't finished."""
        return frozenset(seed for seed, row in self.rows.items() if is_affected(row))

    def chosen(self, seeds: Sequence[int]) -> list[float]:
        """The values at these seeds that have one."""
        return [self.values[seed] for seed in seeds if seed in self.values]

    def scored(self, metric: str, seeds: Sequence[int]) -> list[float]:
        """What the jobs count with by another metric."""
        found = [score(self.rows[seed], metric).value for seed in seeds if seed in self.rows]
        return [value for value in found if value is not None]

    def numbers(self, metric: str, seeds: Sequence[int]) -> list[float]:
        """Another metric of the jobs that succeeded; what isn't finite is left out."""
        return _finite(row.metrics.get(metric) for row in self._succeeded(seeds))

    def best_seconds(self, seeds: Sequence[int]) -> list[float]:
        """How long the jobs that succeeded trained until the epoch whose weights were kept."""
        return _finite(row.best_seconds for row in self._succeeded(seeds))

    def _succeeded(self, seeds: Sequence[int]) -> list[ResultRow]:
        found = (self.rows[seed] for seed in seeds if seed in self.rows)
        return [row for row in found if row.status == "succeeded"]


def group(rows: Iterable[ResultRow], metric: str) -> list[Arm]:
    """In the order in which the jobs were made."""
    arms: dict[tuple[str, str], list[ResultRow]] = {}
    for row in sorted(rows, key=lambda row: row.job_id):
        place = json.dumps(row.point, sort_keys=True)
        arms.setdefault((row.variant, place), []).append(row)
    return [_arm(found, metric) for found in arms.values()]


def pairs(arm: Arm, reference: Arm, seeds: Sequence[int]) -> list[tuple[float, float]]:
    """(variant, baseline) at each of these seeds at which both have a value."""
    return [
        (arm.values[seed], reference.values[seed])
        for seed in seeds
        if seed in arm.values and seed in reference.values
    ]


def baselines(arms: Iterable[Arm], baseline: str) -> Mapping[str, Arm]:
    """The baseline's arm at each place."""
    return {arm.place: arm for arm in arms if arm.variant == baseline}


def _arm(rows: Sequence[ResultRow], metric: str) -> Arm:
    return Arm(
        variant=rows[0].variant,
        point=dict(rows[0].point),
        rows={row.seed: row for row in rows},
        metric=metric,
        scores={row.seed: score(row, metric) for row in rows},
    )


def _finite(values: Iterable[Any]) -> list[float]:
    return [number for value in values if (number := finite(value)) is not None]


def score(job: Outcome, metric: str) -> Score:
    """What the job counts with by this metric."""
    if job.status != "succeeded":
        return Score(None)
    value = finite(job.metrics.get(metric))
    if value is not None or job.reason != "diverged":
        return Score(value)
    chance = finite((job.facts or {}).get(f"chance_{metric.rpartition('_')[2]}"))
    return Score(chance, at_chance=chance is not None)


def finite(value: Any) -> float | None:
    """The number, or None for what is none."""
    return float(value) if isinstance(value, int | float) and math.isfinite(value) else None


def is_affected(row: ResultRow) -> bool:
    """Whether something went wrong, so that the seed is left out of the sensitivity analysis."""
    return row.status != "succeeded" or row.reason == "diverged"


def higher_is_better(metric: str) -> bool:
    return not metric.endswith(("_loss", "_cost"))


def has_direction(metric: str) -> bool:
    """Whether one value of it is better than another."""
    return metric.endswith(("accuracy", "_loss", "_cost"))


def validation_metric(metric: str) -> str:
    """What variants are ranked by where `metric` is what the study is about."""
    return "best_val_loss" if metric.endswith(("_loss", "_cost")) else "best_val_accuracy"
