"""The outputs of an evaluation: for each kind that a spec may ask for, small arrays and the scalars that go
with them."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import assert_never

import numpy
import torch
from torch import Tensor, nn

from trainer.data import Data, Examples, Standardize, apply_shift
from trainer.evaluation.activations import EXAMPLES, describe_activations, observe
from trainer.evaluation.image_grids import augmented, grid, responses
from trainer.evaluation.losses import Arrays, Task
from trainer.evaluation.weight_arrays import (
    first_filters,
    kurtosis_of_filters,
    weight_histograms,
    weight_scalars,
)
from trainer.layers import start_dropping
from trainer.random_streams import generator, seed_globals
from trainer.spec import Evaluation, JobSpec, Output, Shift

#: Masks that a curve of Monte-Carlo averaging goes up to (Srivastava et al. 2014, §7.5).
MASKS = 50


@dataclass(frozen=True, slots=True)
class Measurement:
    """Arrays for a file, empty where the evaluation has nothing of this kind; scalars for the metrics."""

    arrays: Arrays
    scalars: dict[str, float]


@dataclass(frozen=True, slots=True)
class Subject:
    """What an evaluation was of: `model` is a copy in eval mode; `shift` acts on its examples."""

    spec: JobSpec
    evaluation: Evaluation
    data: Data
    examples: Examples
    model: nn.Module
    standardize: Standardize
    task: Task
    shift: Shift | None

    @property
    def device(self) -> torch.device:
        return self.examples.labels.device

    def predict(self, pixels: Tensor) -> Tensor:
        return self.task.predictions(self.model(self.standardize(pixels)))

    def shifted(self, pixels: Tensor, number: int) -> Tensor:
        """As the evaluation saw batch `number` of the examples."""
        if self.shift is None:
            return pixels
        chance = generator("shift", self.spec.dataset.split_seed, number)
        return apply_shift(pixels, self.shift, chance)


def measure_output(output: Output, subject: Subject, predictions: Arrays) -> Measurement:
    """`predictions`: what the task keeps of them. Leaves the model in eval mode."""
    subject.model.eval()
    match output:
        case "predictions":
            return Measurement(predictions, {})
        case "filters":
            arrays = first_filters(subject.model, subject.data.info.shape)
            return Measurement(arrays, kurtosis_of_filters(subject.model))
        case "weights":
            return Measurement(weight_histograms(subject.model), weight_scalars(subject.model))
        case "activations":
            return _activations(subject)
        case "responses":
            pixels, _ = subject.examples.take(slice(0, 16))
            pixels = subject.shifted(pixels, 0)
            return Measurement(responses(subject.model, pixels, subject.predict), {})
        case "grid":
            return Measurement(grid(subject.data, subject.device, _probabilities(subject)), {})
        case "mc_curve":
            return Measurement(_mc_curve(subject), {})
        case "augmented":
            specs, seed = subject.spec.augmentation, subject.spec.seed
            return Measurement(augmented(subject.data, subject.device, specs, seed), {})
        case _:
            assert_never(output)


def _activations(subject: Subject) -> Measurement:
    count = len(subject.examples)
    rows = torch.linspace(0, count - 1, min(count, EXAMPLES), device=subject.device).round().long()
    pixels, _ = subject.examples.take(rows)
    activations = observe(subject.model, lambda: subject.predict(subject.shifted(pixels, 0)))
    unshifted = None
    if subject.shift is not None:
        unshifted = observe(subject.model, lambda: subject.predict(pixels))
    return Measurement(*describe_activations(subject.model, activations, unshifted))


def _probabilities(subject: Subject) -> Callable[[Tensor], Tensor]:
    def predict(points: Tensor) -> Tensor:
        predictions = subject.predict(points)
        return predictions.exp() if subject.task.has_accuracy else predictions

    return predict


def _mc_curve(subject: Subject) -> Arrays:
    """`k` (1 … 50) and `error`: one minus the accuracy, or the loss, of the mean prediction of the first k
    masks. Norms stay in eval mode."""
    start_dropping(subject.model)
    sums = torch.zeros((MASKS, 3), dtype=torch.float64, device=subject.device)
    for number, (pixels, labels) in enumerate(subject.examples.batches(MASKS)):
        pixels = subject.shifted(pixels, number)
        targets = subject.task.targets(pixels, labels)
        passes = []
        for mask in range(MASKS):
            seed_globals("mc_dropout", subject.spec.seed, number * MASKS + mask)
            with torch.no_grad():
                passes.append(subject.predict(pixels))
        stacked = torch.stack(passes)
        for mask in range(MASKS):
            sums[mask] += subject.task.score(subject.task.mean(stacked[: mask + 1]), targets)
    subject.model.eval()
    loss, hits, count = sums.cpu().numpy().T
    error = 1 - hits / count if subject.task.has_accuracy else loss / count
    return {"k": numpy.arange(1, MASKS + 1), "error": error}
