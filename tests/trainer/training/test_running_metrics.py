"""A period's sums: equal to the last bit however many steps are scored together."""

import math
from collections.abc import Sequence

import pytest
import torch

from trainer.evaluation.losses import (
    Batch,
    ClassificationTask,
    ReconstructionTask,
    RegressionTask,
    Task,
)
from trainer.training.running_metrics import RunningMetrics


def make_classification(examples: int) -> Batch:
    return torch.randn(examples, 10).log_softmax(1), torch.randint(10, (examples,))


def make_mixed(examples: int) -> Batch:
    return torch.randn(examples, 10).log_softmax(1), torch.rand(examples, 10)


def make_regression(examples: int) -> Batch:
    return torch.randn(examples), torch.randn(examples)


def make_reconstruction(examples: int) -> Batch:
    return torch.randn(examples, 1, 4, 4), torch.rand(examples, 1, 4, 4)


KINDS = {
    "classification": (ClassificationTask(), make_classification),
    "mixed": (ClassificationTask(), make_mixed),
    "regression": (RegressionTask(), make_regression),
    "reconstruction": (ReconstructionTask(binary=True), make_reconstruction),
}


def bits(values: torch.Tensor) -> list[str]:
    return [value.hex() for value in values.double().flatten().tolist()]


@pytest.mark.parametrize("sizes", [[64], [64] * 5, [64, 64, 29], [1, 700, 16]])
@pytest.mark.parametrize("kind", KINDS)
def test_scores_of_many_batches_equal_those_of_each(kind: str, sizes: list[int]) -> None:
    task, make = KINDS[kind]
    torch.manual_seed(0)
    batches = [make(size) for size in sizes]
    assert bits(task.scores(batches)) == bits(torch.stack([task.score(*one) for one in batches]))


def test_an_example_without_a_prediction_is_no_hit() -> None:
    predictions, targets = make_classification(8)
    predictions[3] = math.nan
    scores = ClassificationTask().scores([(predictions, targets), make_classification(8)])
    assert scores.isnan().tolist() == [[True, True, False], [False, False, False]]


def added(
    task: Task, steps: Sequence[Sequence[Batch]], terms: Sequence[str], *, read_each: bool
) -> list[str]:
    running = RunningMetrics(task, terms)
    for number, batches in enumerate(steps):
        values = {name: torch.tensor(0.1 * (number + place)) for place, name in enumerate(terms)}
        running.add(batches, values)
        if read_each:
            running.values = running.values
    return bits(running.values)


@pytest.mark.parametrize("terms", [[], ["l1"], ["l1", "l2"], ["a", "b", "c", "d"]])
@pytest.mark.parametrize("accumulate", [1, 3])
@pytest.mark.parametrize("kind", KINDS)
def test_sums_do_not_depend_on_when_they_are_read(
    kind: str, accumulate: int, terms: list[str]
) -> None:
    task, make = KINDS[kind]
    torch.manual_seed(0)
    steps = [[make(16) for _ in range(accumulate)] for _ in range(70)]
    at_once, each = (added(task, steps, terms, read_each=read) for read in (False, True))
    assert at_once == each


def test_sums_stay_as_they_are_once_they_are_not_finite() -> None:
    torch.manual_seed(0)
    steps = [[make_classification(16)] for _ in range(9)]
    steps[4][0][0].fill_(math.inf)
    task = ClassificationTask()
    assert added(task, steps, [], read_each=False) == added(task, steps[:5], [], read_each=False)
    assert added(task, steps, [], read_each=True) == added(task, steps[:5], [], read_each=True)
