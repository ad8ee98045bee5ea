"""When a training has a new best, when it has waited enough, when it diverged. Knows no torch."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace

from trainer.spec import Metric, Patience, StoppingSpec

#: One of them not finite: the training has diverged.
LOSSES = ("train_loss", "train_cost", "val_loss")


@dataclass(frozen=True, slots=True)
class Waiting:
    """The value that the next one must beat by `min_delta`, and how many evaluations did not."""

    reference: float | None = None
    stale: int = 0


def is_better(monitor: Metric, value: float, than: float | None) -> bool:
    """Strictly better, so the first of equals stays best; NaN is never better."""
    return _gain(monitor, value, than) > 0


def wait(spec: StoppingSpec, waiting: Waiting, metrics: Mapping[str, float]) -> Waiting:
    """After one more evaluation: gains up to `min_delta` add up until together they exceed it."""
    value = metrics[spec.monitor]
    min_delta = spec.min_delta if isinstance(spec, Patience) else 0.0
    if _gain(spec.monitor, value, waiting.reference) > min_delta:
        return Waiting(reference=value)
    return replace(waiting, stale=waiting.stale + 1)


def has_waited_enough(spec: StoppingSpec, waiting: Waiting) -> bool:
    """Patience 0 acts as 1: an evaluation that was itself a new best never stops."""
    return isinstance(spec, Patience) and waiting.stale >= max(spec.patience, 1)


def has_diverged(metrics: Mapping[str, float]) -> bool:
    return not all(math.isfinite(metrics[name]) for name in LOSSES)


def _gain(monitor: Metric, value: float, over: float | None) -> float:
    """By how much `value` is better; minus infinity for NaN, infinity over nothing."""
    if math.isnan(value):
        return -math.inf
    if over is None:
        return math.inf
    return value - over if monitor.endswith("_accuracy") else over - value
