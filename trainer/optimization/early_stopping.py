"""When a training has a new best, when each stopping rule would end it, when it diverged.

GL, PQ and UP are those of Prechelt 1998 ("Early stopping - but when?", Neural Networks: Tricks of the Trade);
patience stands beside them.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias, assert_never

from trainer.spec import (
    GeneralizationLoss,
    Metric,
    NoStopping,
    Patience,
    ProgressQuotient,
    StoppingSpec,
    SuccessiveIncreases,
)

#: One of them not finite: the training has diverged.
LOSSES = ("train_loss", "train_cost", "val_loss")

#: What a rule remembers of a curve: plain numbers and lists of them.
Memory: TypeAlias = Mapping[str, Any]

_RULES: tuple[StoppingSpec, ...] = (
    Patience(kind="patience"),
    GeneralizationLoss(kind="generalization_loss"),
    ProgressQuotient(kind="progress_quotient"),
    SuccessiveIncreases(kind="successive_increases"),
)


@dataclass(frozen=True, slots=True)
class EarlyStopping:
    """Every stopping rule over one curve: the spec's own with its options, all others with their defaults.

    `stopped` holds the epoch (from 1) at which a rule first said stop.
    """

    own: StoppingSpec
    epoch: int
    memories: Mapping[str, Memory]
    stopped: Mapping[str, int]

    @classmethod
    def start(cls, own: StoppingSpec) -> "EarlyStopping":
        memories: dict[str, Memory] = {rule.kind: {} for rule in _watching(own)}
        return cls(own, 0, memories, {})

    def observe(self, metrics: Mapping[str, float]) -> "EarlyStopping":
        """After one more evaluation period."""
        epoch, stopped = self.epoch + 1, dict(self.stopped)
        # All rules follow every training, so that one run tells where each would have ended it;
        # only the spec's own ends it.
        memories: dict[str, Memory] = {}
        for rule in _watching(self.own):
            memories[rule.kind], stops = _follow(rule, self.memories[rule.kind], epoch, metrics)
            if stops:
                # The first time counts: while training goes on a rule may say stop again.
                stopped.setdefault(rule.kind, epoch)
        return EarlyStopping(self.own, epoch, memories, stopped)

    @property
    def stops(self) -> bool:
        return self.own.kind in self.stopped

    def state(self) -> dict[str, Any]:
        """Plain numbers, lists and dicts: for a checkpoint."""
        memories = {kind: dict(memory) for kind, memory in self.memories.items()}
        return {"epoch": self.epoch, "memories": memories, "stopped": dict(self.stopped)}

    @classmethod
    def restore(cls, own: StoppingSpec, state: Mapping[str, Any]) -> "EarlyStopping":
        return cls(own, state["epoch"], state["memories"], state["stopped"])


def is_better(monitor: Metric, value: float, than: float | None) -> bool:
    """Strictly better, so the first of equals stays best; NaN is never better."""
    return _gain(monitor, value, than) > 0


def has_diverged(metrics: Mapping[str, float]) -> bool:
    return not all(math.isfinite(metrics[name]) for name in LOSSES)


def _watching(own: StoppingSpec) -> tuple[StoppingSpec, ...]:
    return tuple(own if rule.kind == own.kind else rule for rule in _RULES)


def _follow(
    rule: StoppingSpec, memory: Memory, epoch: int, metrics: Mapping[str, float]
) -> tuple[Memory, bool]:
    """What the rule remembers after this evaluation, and whether it would end the training."""
    match rule:
        case NoStopping():
            return memory, False
        case Patience():
            return _wait(rule, memory, metrics)
        case GeneralizationLoss():
            minimum = _minimum(memory, metrics)
            return {"minimum": minimum}, _loss_above(minimum, metrics) > rule.alpha
        case ProgressQuotient():
            return _follow_progress(rule, memory, epoch, metrics)
        case SuccessiveIncreases():
            return _count_increases(rule, memory, epoch, metrics)
        case _:
            assert_never(rule)


def _wait(rule: Patience, memory: Memory, metrics: Mapping[str, float]) -> tuple[Memory, bool]:
    """Gains up to `min_delta` add up until together they exceed it. Patience 0 acts as 1: an evaluation
    that was itself a new best never stops."""
    # With `min_delta` 0.1 and losses of 1.00, 0.95 and 0.89, the second is no progress but the
    # third is: it is compared with 1.00, not with 0.95. So a curve that falls slowly but steadily
    # is not stopped.
    reference, stale = memory.get("reference"), memory.get("stale", 0)
    value = metrics[rule.monitor]
    if _gain(rule.monitor, value, reference) > rule.min_delta:
        return {"reference": value, "stale": 0}, False
    return {"reference": reference, "stale": stale + 1}, stale + 1 >= max(rule.patience, 1)


def _minimum(memory: Memory, metrics: Mapping[str, float]) -> float:
    """E_opt(t): the lowest validation loss so far, this one included."""
    return min(float(memory.get("minimum", math.inf)), metrics["val_loss"])


def _loss_above(minimum: float, metrics: Mapping[str, float]) -> float:
    """GL(t) = 100 (E_va(t) / E_opt(t) - 1), percent; above a minimum of zero it is infinite."""
    value = metrics["val_loss"]
    if minimum == 0:
        return 0.0 if value == 0 else math.inf
    return 100 * (value / minimum - 1)


def _follow_progress(
    rule: ProgressQuotient, memory: Memory, epoch: int, metrics: Mapping[str, float]
) -> tuple[Memory, bool]:
    """GL(t) / P_k(t) > alpha at the end of a strip, as a product: P_k is zero on a flat curve."""
    minimum = _minimum(memory, metrics)
    strip = [*memory.get("strip", ()), metrics["train_loss"]]
    if epoch % rule.strip:
        return {"minimum": minimum, "strip": strip}, False
    # For k = 5, losses on validation 10 % above their minimum (GL = 10) and a strip whose mean is
    # 12.5 % above its minimum (P = 125) give a quotient of 0.08. On a flat strip (P = 0) any rise
    # above the minimum stops.
    stops = _loss_above(minimum, metrics) > rule.alpha * _progress(strip)
    return {"minimum": minimum, "strip": []}, stops


def _progress(strip: list[float]) -> float:
    """P_k(t) = 1000 (mean / minimum - 1) of the strip's training losses."""
    # `fsum` rounds once, so the mean is the same in whatever order losses are added. Of equal losses it may
    # still round to just below them: a negative progress would stop a flat curve that is at its minimum.
    lowest = min(strip)
    mean = max(math.fsum(strip) / len(strip), lowest)
    if lowest == 0:
        return 0.0 if mean == 0 else math.inf
    return 1000 * (mean / lowest - 1)


def _count_increases(
    rule: SuccessiveIncreases, memory: Memory, epoch: int, metrics: Mapping[str, float]
) -> tuple[Memory, bool]:
    if epoch % rule.strip:
        return memory, False
    # UP compares the ends of strips that do not overlap, whatever happens between them: with strips
    # of 5 and `increases` 3 it takes 20 epochs at least, the first strip having nothing to compare
    # with.
    before, value = memory.get("end"), metrics["val_loss"]
    rose = before is not None and value > before
    increases = memory.get("increases", 0) + 1 if rose else 0
    return {"end": value, "increases": increases}, increases >= rule.increases


def _gain(monitor: Metric, value: float, over: float | None) -> float:
    """By how much `value` is better; minus infinity for NaN, infinity over nothing."""
    if math.isnan(value):
        return -math.inf
    if over is None:
        return math.inf
    return value - over if monitor.endswith("_accuracy") else over - value
