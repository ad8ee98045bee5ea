"""What outputs are judged by: the loss that is minimized and the scores that are reported.

`predictions` are what a task makes of a model's outputs; losses are means over examples, scores are
float64 sums: loss, hits, examples. A task without accuracy has no hits.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias, assert_never

import numpy.typing
import torch
from torch import Tensor
from torch.nn import functional

from trainer.spec import (
    Classification,
    JobSpec,
    LabelSmoothing,
    Reconstruction,
    Regression,
    TaskSpec,
)

Arrays: TypeAlias = Mapping[str, numpy.typing.NDArray[Any]]

#: Predictions and their targets.
Batch: TypeAlias = tuple[Tensor, Tensor]

#: Reconstructed images that a file of predictions holds.
KEPT_IMAGES = 64


def build_task(spec: JobSpec) -> "Task":
    smoothing = spec.regularizer(LabelSmoothing)
    return _task(spec.task, smoothing.value if smoothing is not None else 0.0)


def _task(spec: TaskSpec, smoothing: float) -> "Task":
    match spec:
        case Classification():
            return ClassificationTask(smoothing)
        case Regression():
            return RegressionTask()
        case Reconstruction(loss=loss):
            return ReconstructionTask(binary=loss == "bce")
        case _:
            assert_never(spec)


@dataclass(frozen=True, slots=True)
class ClassificationTask:
    """Predictions are logarithms of class probabilities N, K; targets are labels N (int64), or class
    probabilities N, K where examples are mixed."""

    smoothing: float = 0.0
    has_accuracy: bool = True

    def targets(self, pixels: Tensor, labels: Tensor) -> Tensor:
        return labels

    def predictions(self, outputs: Tensor) -> Tensor:
        return functional.log_softmax(outputs, 1)

    def loss(self, predictions: Tensor, targets: Tensor) -> Tensor:
        if targets.is_floating_point():
            return -(targets * predictions).sum(1).mean()
        return functional.nll_loss(predictions, targets)

    def smoothing_term(self, predictions: Tensor, targets: Tensor) -> Tensor | None:
        """What label smoothing (Szegedy et al. 2016, arXiv 1512.00567, §7) adds to the loss: `ε (H(u, p) -
        loss)`."""
        if not self.smoothing:
            return None
        # `(1 - ε) loss + ε H(u, p)` is the loss plus this term; apart from it the loss stays
        # comparable between variants with and without smoothing. The mean over N and K is the
        # cross-entropy with the uniform u.
        return self.smoothing * (-predictions.mean() - self.loss(predictions, targets))

    def score(self, predictions: Tensor, targets: Tensor) -> Tensor:
        """NaN outputs are no predictions: their number of hits is NaN, where argmax would make them
        hits for the first class. A mixed example is hit by as much as its class has of it."""
        chosen = predictions.argmax(1)
        if targets.is_floating_point():
            loss = -(targets * predictions.double()).sum()
            hits = targets.gather(1, chosen[:, None]).sum().double()
        else:
            loss = functional.nll_loss(predictions.double(), targets, reduction="sum")
            hits = (chosen == targets).sum().double()
        hits = torch.where(loss.isnan(), torch.nan, hits)
        return torch.stack((loss, hits, torch.full_like(loss, len(targets))))

    def scores(self, batches: Sequence[Batch]) -> Tensor:
        """A row for each batch, equal to its `score` to the last bit."""
        if any(targets.is_floating_point() for _, targets in batches):
            return torch.stack([self.score(*batch) for batch in batches])
        sizes = [len(targets) for _, targets in batches]
        predictions = torch.cat([predictions for predictions, _ in batches]).double()
        targets = torch.cat([targets for _, targets in batches])
        # Batch by batch: a sum in another order would have other last bits. Hits are whole numbers.
        parts = zip(torch.split(predictions, sizes), torch.split(targets, sizes), strict=True)
        losses = torch.stack([functional.nll_loss(*part, reduction="sum") for part in parts])
        is_hit = predictions.argmax(1) == targets
        hits = torch.stack([part.sum() for part in torch.split(is_hit, sizes)]).double()
        hits = torch.where(losses.isnan(), torch.nan, hits)
        return torch.stack((losses, hits, losses.new_tensor(sizes)), 1)

    def mean(self, passes: Tensor) -> Tensor:
        """P, N, K → N, K: the logarithm of the mean probability."""
        # log(1/P Σ exp(x)) without leaving the logarithms, where small probabilities would
        # underflow to 0.
        return passes.logsumexp(0) - math.log(len(passes))

    def arrays(self, predictions: Tensor, targets: Tensor) -> Arrays:
        return {
            "labels": targets.cpu().numpy(),
            "predictions": predictions.argmax(1).cpu().numpy(),
            "probabilities": predictions.exp().cpu().numpy(),
        }


@dataclass(frozen=True, slots=True)
class RegressionTask:
    """Predictions and targets are numbers N; the loss is the mean squared error."""

    has_accuracy: bool = False

    def targets(self, pixels: Tensor, labels: Tensor) -> Tensor:
        return labels

    def predictions(self, outputs: Tensor) -> Tensor:
        return outputs.squeeze(1)

    def loss(self, predictions: Tensor, targets: Tensor) -> Tensor:
        return functional.mse_loss(predictions, targets)

    def smoothing_term(self, predictions: Tensor, targets: Tensor) -> Tensor | None:
        return None

    def score(self, predictions: Tensor, targets: Tensor) -> Tensor:
        return _losses_only((predictions.double() - targets).square().sum(), len(targets))

    def scores(self, batches: Sequence[Batch]) -> Tensor:
        return torch.stack([self.score(*batch) for batch in batches])

    def mean(self, passes: Tensor) -> Tensor:
        return passes.mean(0)

    def arrays(self, predictions: Tensor, targets: Tensor) -> Arrays:
        return {"targets": targets.cpu().numpy(), "predictions": predictions.cpu().numpy()}


@dataclass(frozen=True, slots=True)
class ReconstructionTask:
    """Targets are pixels in [0, 1], predictions their logits (`binary`) or the pixels themselves; losses
    are summed over the pixels of an image."""

    binary: bool
    has_accuracy: bool = False

    def targets(self, pixels: Tensor, labels: Tensor) -> Tensor:
        return pixels

    def predictions(self, outputs: Tensor) -> Tensor:
        return outputs

    def loss(self, predictions: Tensor, targets: Tensor) -> Tensor:
        return self._sum(predictions, targets) / len(targets)

    def smoothing_term(self, predictions: Tensor, targets: Tensor) -> Tensor | None:
        return None

    def score(self, predictions: Tensor, targets: Tensor) -> Tensor:
        return _losses_only(self._sum(predictions.double(), targets.double()), len(targets))

    def scores(self, batches: Sequence[Batch]) -> Tensor:
        return torch.stack([self.score(*batch) for batch in batches])

    def mean(self, passes: Tensor) -> Tensor:
        return passes.sigmoid().mean(0).logit() if self.binary else passes.mean(0)

    def arrays(self, predictions: Tensor, targets: Tensor) -> Arrays:
        """The first images only."""
        kept = predictions[:KEPT_IMAGES]
        pixels = kept.sigmoid() if self.binary else kept
        return {"images": targets[:KEPT_IMAGES].cpu().numpy(), "predictions": pixels.cpu().numpy()}

    def _sum(self, predictions: Tensor, targets: Tensor) -> Tensor:
        if self.binary:
            return functional.binary_cross_entropy_with_logits(
                predictions, targets, reduction="sum"
            )
        return functional.mse_loss(predictions, targets, reduction="sum")


Task: TypeAlias = ClassificationTask | RegressionTask | ReconstructionTask


def _losses_only(loss: Tensor, examples: int) -> Tensor:
    return torch.stack((loss, torch.zeros_like(loss), torch.full_like(loss, examples)))
