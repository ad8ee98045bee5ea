"""How good weights are on a split: during training and, as the spec's evaluations, after it.

Never yields with gradients switched off.
"""

import copy
import math
from collections.abc import Callable, Generator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import assert_never

import torch
from torch import Tensor, nn

from trainer.data import Data, Examples, Standardize, apply_shift
from trainer.evaluation.losses import Arrays, Task
from trainer.evaluation.outputs import Subject, measure_output
from trainer.evaluation.plugin_metrics import measure
from trainer.evaluation.weight_arrays import serialize
from trainer.events import EvaluationFinished, FileWritten, Progressed
from trainer.files import write_file
from trainer.layers import start_dropping
from trainer.random_streams import generator, seed_globals
from trainer.spec import Evaluation, JobSpec, Shift

#: Monte-Carlo averaging of about 50 masks matches weight scaling (Srivastava et al. 2014, JMLR 15, §7.5).
MC_PASSES = 50

#: Pixels in [0, 1] and the number of their batch, to the task's predictions.
Predictor = Callable[[Tensor, int], Tensor]


@dataclass(frozen=True, slots=True)
class Outcome:
    """`sums` float64 on the device: loss, hits, examples; predictions and their targets when kept."""

    sums: Tensor
    predictions: Tensor | None = None
    targets: Tensor | None = None


def evaluate(
    predict: Predictor,
    examples: Examples,
    task: Task,
    what: str,
    *,
    keep: bool = False,
    passes: int = 1,
) -> Generator[Progressed, None, Outcome]:
    """One pass over the examples; an event per batch, no device sync."""
    sums = torch.zeros(3, dtype=torch.float64, device=examples.labels.device)
    kept: list[tuple[Tensor, Tensor]] = []
    for number, (pixels, labels) in enumerate(examples.batches(passes)):
        with torch.no_grad():
            predictions, targets = predict(pixels, number), task.targets(pixels, labels)
            # Inside of `no_grad`, but the event outside of it: a generator that is suspended in the
            # block would switch gradients off for whoever runs meanwhile.
            sums += task.score(predictions, targets)
        if keep:
            kept.append((predictions, targets))
        yield Progressed(what)
    if not keep:
        return Outcome(sums)
    predictions, targets = (torch.cat(parts) for parts in zip(*kept, strict=True))
    return Outcome(sums, predictions, targets)


def plain_predictor(
    model: Callable[[Tensor], Tensor], standardize: Standardize, task: Task
) -> Predictor:
    """The model as it is; the caller puts it into eval mode."""
    return lambda pixels, _: task.predictions(model(standardize(pixels)))


@dataclass(frozen=True, slots=True)
class Weights:
    """State dicts; none is best where no period was finite, and the last ones of a diverged training
    are none either: they depend on how soon the divergence was noticed."""

    best: Mapping[str, Tensor] | None
    last: Mapping[str, Tensor] | None


class Evaluator:
    """Runs evaluations on copies of the trained model, so that a checkpoint can still be saved."""

    def __init__(
        self,
        spec: JobSpec,
        data: Data,
        folder: Path,
        model: nn.Module,
        weights: Weights,
        standardize: Standardize,
        task: Task,
    ) -> None:
        self._spec, self._data, self._folder = spec, data, folder
        self._model, self._weights = model, weights
        self._standardize, self._task = standardize, task

    def run(
        self, evaluation: Evaluation
    ) -> Generator[Progressed | EvaluationFinished, None, dict[str, float]]:
        """Returns its scalars by full name: NaN, and no files, where there are no such weights."""
        weights = self._weights.best if evaluation.weights == "best" else self._weights.last
        loss, hits, count = math.nan, math.nan, 1.0
        files: tuple[FileWritten, ...] = ()
        scalars: dict[str, float] = {}
        if weights is not None:
            model = self._model_with(weights)
            predict, examples = self._predictor(evaluation, model), self._examples(evaluation)
            keep = "predictions" in evaluation.outputs or bool(evaluation.metrics)
            passes = MC_PASSES if evaluation.mode == "mc_dropout" else 1
            outcome = yield from evaluate(
                predict, examples, self._task, evaluation.prefix, keep=keep, passes=passes
            )
            loss, hits, count = outcome.sums.tolist()
            files, scalars = self._write(evaluation, outcome, model, examples)
            scalars |= measure(evaluation.metrics, self._predictions(outcome))
        prefix = evaluation.prefix
        metrics = {f"{prefix}_loss": loss / count}
        if self._task.has_accuracy:
            metrics[f"{prefix}_accuracy"] = hits / count
        scalars = {metric.entry: math.nan for metric in evaluation.metrics} | scalars
        metrics |= {f"{prefix}_{name}": value for name, value in scalars.items()}
        yield EvaluationFinished(prefix, metrics, files)
        return metrics

    def _examples(self, evaluation: Evaluation) -> Examples:
        splits = {"train": self._data.train, "val": self._data.val, "test": self._data.test}
        device = next(self._model.parameters()).device
        return Examples.of(splits[evaluation.split], device)

    def _model_with(self, weights: Mapping[str, Tensor]) -> nn.Module:
        """A copy in eval mode."""
        model = copy.deepcopy(self._model).eval()
        model.load_state_dict(weights)
        return model

    def _predictor(self, evaluation: Evaluation, model: nn.Module) -> Predictor:
        predict = plain_predictor(model, self._standardize, self._task)
        match evaluation.mode:
            case "eval":
                pass
            case "mc_dropout":
                predict = _mc_dropout(model, predict, self._task, self._spec.seed)
            case unknown:
                assert_never(unknown)
        shift = self._shift(evaluation)
        if shift is not None:
            predict = _shifted(predict, shift, self._spec.dataset.split_seed)
        return predict

    def _shift(self, evaluation: Evaluation) -> Shift | None:
        """The evaluation's own, or that of the dataset's test split."""
        if evaluation.shift is None and evaluation.split == "test":
            return self._spec.dataset.shift
        return evaluation.shift

    def _write(
        self, evaluation: Evaluation, outcome: Outcome, model: nn.Module, examples: Examples
    ) -> tuple[tuple[FileWritten, ...], dict[str, float]]:
        """A file per output, in the order of the spec, but none for an empty one; and their scalars."""
        subject = Subject(
            self._spec, evaluation, self._data, examples, model, self._standardize, self._task,
            self._shift(evaluation),
        )  # fmt: skip
        folder, prefix = self._folder / "files", evaluation.prefix
        files: list[FileWritten] = []
        scalars: dict[str, float] = {}
        for output in dict.fromkeys(evaluation.outputs):
            measurement = measure_output(output, subject, self._predictions(outcome))
            scalars |= measurement.scalars
            if measurement.arrays:
                path = folder / f"{prefix}_{output}.npz"
                files.append(write_file(path, serialize(measurement.arrays)))
        return tuple(files), scalars

    def _predictions(self, outcome: Outcome) -> Arrays:
        """What the task keeps of them; nothing where they weren't kept."""
        if outcome.predictions is None or outcome.targets is None:
            return {}
        return self._task.arrays(outcome.predictions, outcome.targets)


def _mc_dropout(model: nn.Module, predict: Predictor, task: Task, seed: int) -> Predictor:
    """The mean prediction over passes with dropout on and norms in eval mode (Gal & Ghahramani 2016, arXiv
    1506.02142)."""
    start_dropping(model)

    def mean_of_passes(pixels: Tensor, number: int) -> Tensor:
        passes = []
        for mask in range(MC_PASSES):
            # A seed for each pair of batch and mask, so the same masks are drawn wherever the
            # evaluation is repeated.
            seed_globals("mc_dropout", seed, number * MC_PASSES + mask)
            passes.append(predict(pixels, number))
        return task.mean(torch.stack(passes))

    return mean_of_passes


def _shifted(predict: Predictor, shift: Shift, split_seed: int) -> Predictor:
    """Its noise belongs to the split, not to the job's seed: every variant meets the same images."""

    def predict_shifted(pixels: Tensor, number: int) -> Tensor:
        return predict(apply_shift(pixels, shift, generator("shift", split_seed, number)), number)

    return predict_shifted
