"""What a period adds up while it trains, on the device."""

import math
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

_FIXED = 5


class RunningMetrics:
    """`values` (float64) holds loss, hits, examples, cost beyond the loss, steps, then each term of that
    cost, all times examples."""

    def __init__(self, terms: Sequence[str], device: torch.device) -> None:
        self._terms = tuple(terms)
        self.values = torch.zeros(_FIXED + len(self._terms), dtype=torch.float64, device=device)

    def add(self, scores: Tensor, terms: Mapping[str, Tensor]) -> None:
        """Adds one step; `scores` are its loss, hits and examples, `terms` means over the examples.

        The sums stay as they are once they are not finite: what a diverged period reports must not
        depend on how soon it was noticed.
        """
        each = [terms[name].detach().double() * scores[2] for name in self._terms]
        extra = torch.stack(each).sum() if each else scores.new_zeros(())
        # `where` instead of `if`: a condition in Python would wait for the device at every step.
        added = self.values + torch.stack((*scores, extra, torch.ones_like(extra), *each))
        self.values = torch.where(self.values.isfinite().all(), added, self.values)

    def are_finite(self) -> bool:
        """Syncs with the device."""
        return bool(self.values.isfinite().all())

    def reset(self) -> None:
        self.values = torch.zeros_like(self.values)

    def metrics(self, values: Sequence[float], *, accuracy: bool) -> dict[str, float]:
        """The period's training metrics of `values`, which came from the device."""
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
