"""What a period adds up while it trains."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy
import torch
from torch import Tensor

from trainer.evaluation import Batch, Task

_FIXED = 5
#: Steps that are scored together, fewer of large predictions: they stay in memory until then.
_STEPS = 64
_HELD_NUMBERS = 2**20


@dataclass(frozen=True, slots=True)
class _Step:
    """The predictions and targets of its micro-batches, and the terms of its cost beside the loss."""

    batches: Sequence[Batch]
    terms: Sequence[Tensor]


class RunningMetrics:
    """Loss, hits, examples, cost beyond the loss, steps, then each term of that cost, all times examples.

    Steps are scored many at once, since a step of a small model takes no longer than the twenty small
    operations of its scores; what they score is added in float64 and in the order of the steps, so that
    the sums don't depend on how many were scored together.
    """

    def __init__(self, task: Task, terms: Sequence[str]) -> None:
        self._task, self._terms = task, tuple(terms)
        self._sums = numpy.zeros(_FIXED + len(self._terms))
        self._steps: list[_Step] = []
        self._held = 0
        # Of scored steps, on the device: loss, hits, examples, and the mean of each term.
        self._rows: list[Tensor] = []

    def add(self, batches: Sequence[Batch], terms: Mapping[str, Tensor]) -> None:
        """Adds one step without a sync with the device; `terms` are means over the examples."""
        self._steps.append(_Step(batches, [terms[name].detach() for name in self._terms]))
        self._held += sum(predictions.numel() for predictions, _ in batches)
        if len(self._steps) >= _STEPS or self._held >= _HELD_NUMBERS:
            self._score()

    def add_scored(self, scores: Tensor, terms: Mapping[str, Tensor]) -> None:
        """Adds one step whose loss, hits and examples are known."""
        means = [terms[name].detach().view(1) for name in self._terms]
        self._rows.append(torch.cat([scores, *means]).double()[None])

    @property
    def values(self) -> Tensor:
        """The sums so far, float64 on the CPU. Syncs with the device.

        They stay as they are once they are not finite: what a diverged period reports must not depend on
        how soon it was noticed.
        """
        self._score()
        if self._rows:
            rows = torch.cat(self._rows).cpu()
            self._rows.clear()
            with numpy.errstate(all="ignore"):
                sums = numpy.add.accumulate([self._sums, *self._weighted(rows)])
            is_finite = numpy.isfinite(sums).all(1)
            self._sums = sums[-1 if is_finite.all() else is_finite.argmin()]
        return torch.from_numpy(self._sums.copy())

    @values.setter
    def values(self, values: Tensor) -> None:
        self.reset()
        self._sums = values.cpu().numpy().copy()

    def are_finite(self) -> bool:
        """Syncs with the device."""
        return bool(self.values.isfinite().all())

    def reset(self) -> None:
        self._steps.clear()
        self._rows.clear()
        self._held, self._sums = 0, numpy.zeros_like(self._sums)

    def _score(self) -> None:
        if not self._steps:
            return
        scores = self._score_steps()
        if self._terms:
            terms = torch.stack([term for step in self._steps for term in step.terms])
            scores = torch.cat((scores, terms.double().view(len(scores), -1)), 1)
        self._rows.append(scores)
        self._steps.clear()
        self._held = 0

    def _score_steps(self) -> Tensor:
        """Steps, 3."""
        if all(len(step.batches) == 1 for step in self._steps):
            return self._task.scores([step.batches[0] for step in self._steps])
        return torch.stack([self._task.scores(step.batches).sum(0) for step in self._steps])

    def _weighted(self, rows: Tensor) -> Sequence[numpy.ndarray]:
        """What each step adds to the sums."""
        scores, terms = rows[:, :3], rows[:, 3:] * rows[:, 2:3]
        # Row by row: the last bit of a sum of three or more may depend on what it is summed beside.
        extra = torch.stack([row.sum() for row in terms])[:, None]
        return list(torch.cat((scores, extra, torch.ones_like(extra), terms), 1).numpy())

    def metrics(self, values: Sequence[float], *, accuracy: bool) -> dict[str, float]:
        """The period's training metrics of `values`."""
        loss, hits, examples, extra, _, *terms = values
        metrics = {"train_loss": loss / examples, "train_cost": (loss + extra) / examples}
        if accuracy:
            metrics["train_accuracy"] = hits / examples
        named = zip(self._terms, terms, strict=True)
        return metrics | {f"{name}_term": term / examples for name, term in named}

    @staticmethod
    def steps(values: Sequence[float]) -> int:
        return int(values[_FIXED - 1])

    @staticmethod
    def nan_unless_finite(values: Sequence[float]) -> float:
        """1, or NaN where the training was not finite: a factor for what was measured after it."""
        return 1.0 if math.isfinite(values[0] + values[3]) else math.nan
