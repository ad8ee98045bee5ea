"""A metric by its name: which way is better, what a job counts with, how its numbers are written; and
how far a layer has drifted.

Accuracies are written in percent, their differences in points.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from studies.stats.inference import Interval


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
    # A diverged job whose best checkpoint was evaluated has a value like any other.
    if value is not None or job.reason != "diverged":
        return Score(value)
    # `test_accuracy` and `best_val_accuracy` share a chance level, which is recorded under their last word.
    chance = finite((job.facts or {}).get(f"chance_{metric.rpartition('_')[2]}"))
    return Score(chance, at_chance=chance is not None)


def held_out_share(jobs: Iterable[Outcome], metric: str) -> float:
    """Held-out over training examples, for the correction of Nadeau & Bengio (2003) where each seed has a split of
    its own; 0 while no job has recorded them. Where the test split is the set's own, it is validation that is held
    out of the training examples."""
    # With 10 seeds and a quarter as many held-out as training examples, the variance of the mean is s² (1/10 +
    # 1/4) instead of s² / 10: intervals are 1.9 times as wide.
    for job in jobs:
        facts = job.facts or {}
        train = finite(facts.get("train_size"))
        is_test = not metric.startswith(("best_", "final_val")) and facts.get("test_is_cut")
        held_out = finite(facts.get("test_size" if is_test else "val_size"))
        if train and held_out is not None:
            return held_out / train
    return 0.0


def is_share(metric: str) -> bool:
    """Whether it is a share of examples, which is written in percent."""
    return metric.endswith("accuracy")


def finite(value: Any) -> float | None:
    """The number, or None for what is none."""
    return float(value) if isinstance(value, int | float) and math.isfinite(value) else None


def higher_is_better(metric: str) -> bool:
    return not metric.endswith(("_loss", "_cost"))


def has_direction(metric: str) -> bool:
    """Whether one value of it is better than another."""
    return metric.endswith(("accuracy", "_loss", "_cost"))


def validation_metric(metric: str) -> str:
    """What variants are ranked by where `metric` is what the study is about."""
    return "best_val_loss" if metric.endswith(("_loss", "_cost")) else "best_val_accuracy"


def amount(value: float, metric: str) -> str:
    """`97.88 %`, or `0.1234` for what is no accuracy."""
    return f"{value * 100:.2f} %" if is_share(metric) else f"{value:{_digits(value)}}"


def gap(value: float, metric: str) -> str:
    """`+0.66 points`, or `-0.0123`."""
    return f"{value * 100:+.2f} points" if is_share(metric) else f"{value:+{_digits(value)}}"


def size(value: float, metric: str) -> str:
    """The gap without its sign."""
    return (
        f"{abs(value) * 100:.2f} points" if is_share(metric) else f"{abs(value):{_digits(value)}}"
    )


def bounds(interval: Interval, metric: str) -> str:
    """`+0.02 to +1.31`."""
    low, high = (
        f"{bound * 100:+.2f}" if is_share(metric) else f"{bound:+{_digits(bound)}}"
        for bound in interval
    )
    return f"{low} to {high}"


def _digits(value: float) -> str:
    # Steps and epochs are counted: 12345 is not 1.234e+04.
    return ".0f" if 1e3 <= abs(value) < 1e9 else ".4g"


def chance(p_value: float) -> str:
    """`p = 0.012`, or `p < 0.001`."""
    text = format_p_value(p_value)
    return f"p {text}" if text.startswith("<") else f"p = {text}"


def format_p_value(p_value: float) -> str:
    """`0.012`, or `< 0.001`."""
    return "< 0.001" if p_value < 0.001 else f"{p_value:.3f}"


def count(number: int, noun: str) -> str:
    """`1 job`, `3 jobs`."""
    return f"{number} {noun}{'' if number == 1 else 's'}"


def listed(names: Sequence[str], most: int = 6) -> str:
    """`a, b and c`; what is more than `most` is counted."""
    shown = list(names[:most])
    if len(names) > most:
        return f"{', '.join(shown)} and {len(names) - most} more"
    return " and ".join(
        part for part in (", ".join(shown[:-1]), shown[-1] if shown else "") if part
    )


def with_drift(
    statistics: Mapping[str, float | None], first: Mapping[str, float | None]
) -> dict[str, float | None]:
    """Adds how far the median before and after a norm has moved since the first measurement, in units of
    the first standard deviation: `before_drift_training`, `after_drift_training`."""
    drifted = dict(statistics)
    for side in ("before", "after"):
        now, then = statistics.get(f"{side}_p50"), first.get(f"{side}_p50")
        std = first.get(f"{side}_std")
        if now is not None and then is not None and std:
            drifted[f"{side}_drift_training"] = abs(now - then) / std
    return drifted
