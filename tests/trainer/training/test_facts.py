"""What two trainings are told apart by, beyond their specs."""

import math
from pathlib import Path
from typing import Any

import pytest

from tests.support.trainings import make_spec, start
from trainer.events import Started
from trainer.training.facts import Facts


def facts(folder: Path, **changes: Any) -> Facts:
    spec = make_spec(**changes)
    training = start(spec, folder)
    started = next(training)
    training.close()
    assert isinstance(started, Started)
    return started.facts


def test_parameters_are_counted_by_what_they_do(tmp_path: Path) -> None:
    batch = facts(tmp_path / "batch")
    none = facts(tmp_path / "none", norm={"kind": "none"})
    assert batch["weight_parameters"] == none["weight_parameters"]
    assert int(batch["norm_parameters"]) > none["norm_parameters"] == 0
    assert int(none["bias_parameters"]) > int(batch["bias_parameters"])


@pytest.mark.parametrize(
    ("parameters", "decays"), [("weights", False), ("weights_and_norms", True), ("all", True)]
)
def test_norms_under_weight_decay_are_counted(
    tmp_path: Path, parameters: str, decays: bool
) -> None:
    decay = {"kind": "weight_decay", "value": 1e-4, "parameters": parameters}
    found = facts(tmp_path, regularization=[decay])
    assert found["decayed_norm_parameters"] == (found["norm_parameters"] if decays else 0)


@pytest.mark.parametrize(
    ("fact", "change"),
    [
        ("schedule", {"optimizer": {"kind": "sgd", "lr": 0.051}}),
        ("schedule", {"schedule": {"kind": "cosine"}}),
        ("split", {"dataset": {"name": "digits", "train_size": 200, "split_seed": 1}}),
        ("split", {"dataset": {"name": "digits", "train_size": 200, "label_noise": 0.2}}),
        ("train_size", {"dataset": {"name": "digits", "train_size": 100}}),
        ("examples_per_step", {"training": {"epochs": 3, "batch_size": 32}}),
        ("total_steps", {"training": {"epochs": 4, "batch_size": 64}}),
    ],
)
def test_a_change_is_seen_where_it_matters(
    tmp_path: Path, fact: str, change: dict[str, Any]
) -> None:
    assert facts(tmp_path / "plain")[fact] != facts(tmp_path / "changed", **change)[fact]


def test_seeds_and_equal_specs_have_equal_facts(tmp_path: Path) -> None:
    assert facts(tmp_path / "first") == facts(tmp_path / "second", seed=7)


def test_guessing_among_ten_classes_is_right_once_in_ten(tmp_path: Path) -> None:
    found = facts(tmp_path)
    assert (found["chance_accuracy"], found["chance_loss"]) == (0.1, math.log(10))


def test_guessing_a_number_errs_by_the_variance_around_the_training_mean(tmp_path: Path) -> None:
    found = facts(
        tmp_path,
        dataset={"name": "polynomial_noise"},
        task={"kind": "regression"},
        model={"name": "polynomial", "degree": 2},
        norm={"kind": "none"},
    )
    assert "chance_accuracy" not in found
    # cos(1.5πx) on [0, 1] has variance 1/2 - (2/(3π))², and the set's noise comes on top.
    assert found["chance_loss"] == pytest.approx(0.5 - (2 / (3 * math.pi)) ** 2, rel=0.25)
