"""What a job counts with in a comparison, whatever became of it.

A diverged job counts with what its best checkpoint on validation reached, else with what guessing would
score: it is a result. A job that failed, was cancelled or isn't finished has no value, and withholds the
verdict. Nothing is dropped.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias

Row: TypeAlias = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Score:
    """`value` is a finite number, or None."""

    value: float | None
    at_chance: bool = False


def score(row: Row, metric: str) -> Score:
    """Of one result row (`status, reason, metrics, facts`)."""
    if row["status"] != "succeeded":
        return Score(None)
    value = finite(row["metrics"].get(metric))
    if value is not None or row["reason"] != "diverged":
        return Score(value)
    chance = finite((row.get("facts") or {}).get(f"chance_{metric.rpartition('_')[2]}"))
    return Score(chance, at_chance=chance is not None)


def finite(value: Any) -> float | None:
    """The number, or None for what is none."""
    return float(value) if isinstance(value, int | float) and math.isfinite(value) else None


def is_affected(row: Row) -> bool:
    """Whether something went wrong, so that the seed is left out where survivors alone are looked at."""
    return bool(row["status"] != "succeeded" or row["reason"] == "diverged")


def higher_is_better(metric: str) -> bool:
    return not metric.endswith(("_loss", "_cost"))


def has_direction(metric: str) -> bool:
    """Whether one value of it is better than another."""
    return metric.endswith(("accuracy", "_loss", "_cost"))


def validation_metric(metric: str) -> str:
    """What variants are ranked by where `metric` is what the study is about."""
    return "best_val_loss" if metric.endswith(("_loss", "_cost")) else "best_val_accuracy"
