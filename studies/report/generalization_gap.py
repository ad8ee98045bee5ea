"""How much better training is than validation, at the epoch whose weights were kept."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from studies.report.schemas import JobReport

Measure = Literal["accuracy", "loss"]


@dataclass(frozen=True, slots=True)
class Gap:
    """One arm: a pair (train, validation) for each job that has both."""

    arm: str
    variant: str
    pairs: tuple[tuple[float, float], ...]

    @property
    def differences(self) -> list[float]:
        return [train - val for train, val in self.pairs]


def measure_of(jobs: Sequence[JobReport]) -> Measure:
    """Accuracy where there is one."""
    has_accuracy = any(value is not None for one in jobs for value in one.curve.val_accuracy)
    return "accuracy" if has_accuracy else "loss"


def gaps(jobs: Sequence[JobReport]) -> list[Gap]:
    """Of every arm with a job that has both values at its kept epoch; diverged jobs are not among them."""
    measure = measure_of(jobs)
    found: dict[str, list[tuple[float, float]]] = {}
    variants = {one.arm: one.variant for one in jobs}
    for one in jobs:
        pair = _pair(one, measure) if one.left_out is None else None
        if pair is not None:
            found.setdefault(one.arm, []).append(pair)
    return [Gap(arm, variants[arm], tuple(found[arm])) for arm in variants if arm in found]


def _pair(job: JobReport, measure: str) -> tuple[float, float] | None:
    kept = job.metrics.get("best_epoch")
    for row in job.curve.rows():
        train, val = row[f"train_{measure}"], row[f"val_{measure}"]
        if row["epoch"] == kept and train is not None and val is not None:
            return (train, val) if math.isfinite(train) and math.isfinite(val) else None
    return None
