"""Tasks: losses and scores against their definitions, in numpy and by hand."""

import math

import numpy
import pytest
import torch
from torch import nn

from trainer.evaluation.losses import ClassificationTask, ReconstructionTask, RegressionTask

CLASSIFICATION = ClassificationTask()


def test_scores_are_the_cross_entropy_and_the_hits():
    logits, labels = torch.randn(20, 5), torch.randint(5, (20,))
    predictions = CLASSIFICATION.predictions(logits)
    loss, hits, count = CLASSIFICATION.score(predictions, labels).tolist()
    assert loss / count == pytest.approx(nn.functional.cross_entropy(logits, labels).item())
    assert hits == (logits.argmax(1) == labels).sum()
    assert count == 20


def test_nan_outputs_are_no_hits_for_the_first_class():
    labels = torch.zeros(4, dtype=torch.long)
    loss, hits, count = CLASSIFICATION.score(torch.full((4, 3), torch.nan), labels).tolist()
    assert math.isnan(loss)
    assert math.isnan(hits)
    assert count == 4


def test_a_mixed_example_is_judged_by_its_shares():
    predictions = CLASSIFICATION.predictions(torch.randn(6, 3, dtype=torch.float64))
    labels, others = torch.tensor([0, 1, 2, 0, 1, 2]), torch.tensor([1, 1, 0, 2, 0, 2])
    one_hot = nn.functional.one_hot
    mixed = 0.7 * one_hot(labels, 3).double() + 0.3 * one_hot(others, 3).double()
    rows = predictions.numpy()
    each = range(6)
    expected = -0.7 * rows[each, labels] - 0.3 * rows[each, others]
    assert CLASSIFICATION.loss(predictions, mixed).item() == pytest.approx(expected.mean())
    loss, hits, _ = CLASSIFICATION.score(predictions, mixed).tolist()
    assert loss == pytest.approx(expected.sum())
    assert hits == pytest.approx(mixed.numpy()[each, rows.argmax(1)].sum())


@pytest.mark.parametrize("smoothing", [0.1, 0.5])
def test_label_smoothing_adds_up_to_the_loss_of_torch(smoothing):
    logits = torch.randn(20, 5, dtype=torch.float64)
    labels = torch.randint(5, (20,))
    task = ClassificationTask(smoothing)
    predictions = task.predictions(logits)
    minimized = task.loss(predictions, labels) + task.smoothing_term(predictions, labels)
    expected = nn.functional.cross_entropy(logits, labels, label_smoothing=smoothing)
    assert minimized.item() == pytest.approx(expected.item(), rel=1e-12)
    # What is reported is not smoothed.
    assert torch.equal(task.score(predictions, labels), CLASSIFICATION.score(predictions, labels))


def test_the_mean_of_passes_is_the_mean_probability():
    passes = torch.randn(7, 4, 3, dtype=torch.float64).log_softmax(2)
    expected = numpy.log(numpy.exp(passes.numpy()).mean(0))
    assert CLASSIFICATION.mean(passes).numpy() == pytest.approx(expected, rel=1e-12)


def test_regression_is_the_mean_squared_error():
    task, outputs, targets = RegressionTask(), torch.randn(9, 1), torch.randn(9)
    predictions = task.predictions(outputs)
    squares = (outputs.double().numpy()[:, 0] - targets.double().numpy()) ** 2
    assert task.loss(predictions, targets).item() == pytest.approx(squares.mean(), rel=1e-6)
    assert task.score(predictions, targets).tolist() == pytest.approx([squares.sum(), 0, 9])


@pytest.mark.parametrize("binary", [True, False])
def test_reconstruction_sums_over_the_pixels_of_an_image(binary):
    task = ReconstructionTask(binary)
    pixels, outputs = torch.rand(5, 1, 4, 4), torch.randn(5, 1, 4, 4)
    targets = task.targets(pixels, torch.zeros(5))
    x, p = pixels.double().numpy(), outputs.double().sigmoid().numpy()
    if binary:
        expected = -(x * numpy.log(p) + (1 - x) * numpy.log(1 - p)).sum()
    else:
        expected = ((outputs.double().numpy() - x) ** 2).sum()
    assert task.loss(outputs, targets).item() == pytest.approx(expected / 5, rel=1e-5)
    loss, _, count = task.score(task.predictions(outputs), targets).tolist()
    assert loss == pytest.approx(expected, rel=1e-12)
    assert count == 5


def test_a_mean_of_binary_reconstructions_is_one_of_probabilities():
    passes = torch.randn(6, 2, 1, 3, 3, dtype=torch.float64)
    mean = ReconstructionTask(binary=True).mean(passes).sigmoid()
    assert torch.allclose(mean, passes.sigmoid().mean(0), rtol=1e-12)


def test_tasks_without_accuracy_say_so():
    assert CLASSIFICATION.has_accuracy
    assert not RegressionTask().has_accuracy
    assert not ReconstructionTask(binary=True).has_accuracy
