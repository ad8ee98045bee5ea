"""Of trainings with averaged weights: the average is what is validated, kept and evaluated, with batch
statistics of its own."""

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from tests.support.trainings import epochs, finished, last_of, load_data, make_spec, run
from trainer.events import CheckpointSaved, Event
from trainer.training.checkpoint import restore_model

AVERAGES = {"ema": {"kind": "ema", "decay": 0.8}, "swa": {"kind": "swa", "start": 0.4}}
every_average = pytest.mark.parametrize("kind", AVERAGES)


def train(kind: str, folder: Path) -> tuple[list[Event], nn.Module, dict[str, Any]]:
    """The events, the best model, and the state of the last checkpoint, which is of the same epoch."""
    spec = make_spec(
        regularization=[AVERAGES[kind]],
        evaluations=[{}, {"weights": "last"}],
        early_stopping={"kind": "none", "monitor": "val_accuracy"},
    )
    events = run(spec, folder / "attempt-1")
    best = [one for one in events if isinstance(one, CheckpointSaved) and one.kind == "best"][-1]
    assert best.epoch == 3
    model = restore_model(spec, load_data(spec).info, Path(best.path))
    return events, model, torch.load(last_of(events).path, weights_only=True)["state"]


def pixels(split: Any, info: Any) -> torch.Tensor:
    standardized: torch.Tensor = (split.images.float() / 255 - info.mean[0]) / info.std[0]
    return standardized


@every_average
def test_the_best_weights_are_the_averaged_and_not_the_trained_ones(kind, tmp_path):
    _, model, state = train(kind, tmp_path)
    for name, weight in model.named_parameters():
        assert torch.equal(weight, state["average"]["model"][name])
    assert not torch.equal(model.conv1.weight, state["model"]["conv1.weight"])


@every_average
def test_its_batch_statistics_are_those_of_its_own_activations_on_the_training_split(
    kind, tmp_path
):
    _, model, state = train(kind, tmp_path)
    data = load_data(make_spec())
    with torch.no_grad():
        first = model.conv1(pixels(data.train, data.info))
    torch.testing.assert_close(model.norm1.running_mean, first.mean((0, 2, 3)), rtol=0, atol=1e-5)
    trained = state["model"]["norm1.running_mean"]
    assert (model.norm1.running_mean - trained).abs().max() > 1e-3


@every_average
def test_validation_and_test_are_of_the_averaged_model(kind, tmp_path):
    events, model, _ = train(kind, tmp_path)
    data, metrics = load_data(make_spec()), finished(events).metrics
    for split, names in (
        (data.val, ("best_val_accuracy",)),
        (data.test, ("test_accuracy", "last_test_accuracy")),
    ):
        with torch.no_grad():
            hits = model(pixels(split, data.info)).argmax(1) == split.labels
        for name in names:
            assert metrics[name] == pytest.approx(hits.double().mean().item())
    assert epochs(events)[-1].metrics["val_accuracy"] == metrics["best_val_accuracy"]
