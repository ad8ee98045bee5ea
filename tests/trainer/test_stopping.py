"""Patience, best values and divergence, against tables worked out by hand."""

import math

import pytest

from trainer.spec import NoStopping, Patience
from trainer.stopping import Waiting, has_diverged, has_waited_enough, is_better, wait

NAN = math.nan


@pytest.mark.parametrize(
    ("monitor", "patience", "min_delta", "values", "stops_after"),
    [
        ("val_loss", 2, 0.0, [5, 4, 3, 3, 3, 1], 5),
        ("val_loss", 2, 0.0, [5, 6, 4, 5, 5, 1], 5),
        ("val_loss", 1, 0.0, [5, 4, 3, 2], None),
        ("val_loss", 0, 0.0, [5, 4, 4, 3], 3),
        ("val_accuracy", 2, 0.0, [0.5, 0.4, 0.6, 0.6, 0.5], 5),
        # Gains of 0.3 are too small alone, but two of them exceed 0.5 together.
        ("val_loss", 2, 0.5, [5, 4.7, 4.4, 4.1, 3.8, 3.8], None),
        ("val_loss", 2, 0.5, [5, 4.7, 4.6, 1], 3),
        # A gain of exactly min_delta is no new best.
        ("val_loss", 1, 0.5, [5, 4.5], 2),
        ("val_loss", 2, 0.0, [NAN, NAN, 3], 2),
        ("val_loss", 2, 0.0, [5, NAN, 4, NAN, NAN], 5),
        ("train_accuracy", 1, 0.0, [0.1, 0.2, 0.1], 3),
        ("train_cost", 1, 0.0, [3, 2, 2.5], 3),
    ],
)
def test_patience_counts_evaluations_without_a_new_best(
    monitor, patience, min_delta, values, stops_after
):
    spec = Patience(kind="patience", monitor=monitor, patience=patience, min_delta=min_delta)
    waiting, stopped = Waiting(), None
    for number, value in enumerate(values, 1):
        waiting = wait(spec, waiting, {monitor: value})
        if has_waited_enough(spec, waiting):
            stopped = number
            break
    assert stopped == stops_after


def test_without_a_rule_nothing_ever_stops():
    spec, waiting = NoStopping(kind="none"), Waiting()
    for _ in range(100):
        waiting = wait(spec, waiting, {"val_loss": 1.0})
    assert not has_waited_enough(spec, waiting)


@pytest.mark.parametrize(
    ("monitor", "value", "than", "better"),
    [
        ("val_loss", 1.0, 2.0, True),
        ("val_loss", 2.0, 2.0, False),
        ("val_accuracy", 0.9, 0.8, True),
        ("val_accuracy", 0.8, 0.8, False),
        ("train_cost", 3.0, None, True),
        ("val_loss", NAN, None, False),
        ("val_accuracy", NAN, 0.1, False),
    ],
)
def test_the_first_of_equals_stays_best_and_nan_is_never_best(monitor, value, than, better):
    assert is_better(monitor, value, than) is better


@pytest.mark.parametrize("name", ["train_loss", "train_cost", "val_loss"])
@pytest.mark.parametrize("value", [NAN, math.inf])
def test_one_loss_that_is_not_finite_means_divergence(name, value):
    finite = {"train_loss": 1.0, "train_cost": 1.0, "val_loss": 1.0, "val_accuracy": NAN}
    assert not has_diverged(finite)
    assert has_diverged({**finite, name: value})
