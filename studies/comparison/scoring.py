"""What a job counts with in a comparison, whatever became of it.

A diverged job counts with what its best checkpoint on validation reached, else with what guessing would
score: it is a result. A job that failed, was cancelled or isn't finished has no value, and withholds the
verdict. Nothing is dropped.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from store.results import ResultRow


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
