"""Stopping rules, best values and divergence, against tables worked out by hand."""

import math
from collections.abc import Iterator, Sequence

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from pydantic import TypeAdapter

from tests.support.stopping_definitions import generalization_loss, has_risen, progress_quotient
from trainer.optimization.early_stopping import EarlyStopping, has_diverged, is_better
from trainer.spec.optimization import NoStopping, Patience, StoppingSpec

NAN = math.nan


def rule(**document: object) -> StoppingSpec:
    return TypeAdapter(StoppingSpec).validate_python(document)


def watch(
    own: StoppingSpec, validation: Sequence[float], training: Sequence[float] | None = None
) -> Iterator[EarlyStopping]:
    """After each evaluation."""
    stopping = EarlyStopping.start(own)
    for train_loss, val_loss in zip(training or [1.0] * len(validation), validation, strict=True):
        stopping = stopping.observe(
            {"train_loss": train_loss, "train_cost": train_loss, "val_loss": val_loss}
        )
        yield stopping


def stop_epoch(own: StoppingSpec, *curves: Sequence[float]) -> int | None:
    *_, last = watch(own, *curves)
    return last.stopped.get(own.kind)


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
    own = Patience(kind="patience", monitor=monitor, patience=patience, min_delta=min_delta)
    stopping = EarlyStopping.start(own)
    for value in values:
        stopping = stopping.observe({"train_loss": 1.0, "val_loss": 1.0, monitor: value})
    assert stopping.stopped.get("patience") == stops_after


@pytest.mark.parametrize(
    ("alpha", "losses", "stops"),
    [
        # Minimum so far  10    8    8    8    8; GL 0, 0, 2.5, 5, 6.25 percent.
        (5.5, [10, 8, 8.2, 8.4, 8.5], 5),
        (4.0, [10, 8, 8.2, 8.4, 8.5], 4),
        (2.0, [10, 8, 8.2, 8.4, 8.5], 3),
        (7.0, [10, 8, 8.2, 8.4, 8.5], None),
        # A new minimum after a rise: GL 0, 2, 0, 1.
        (1.5, [100, 102, 50, 50.5], 2),
        # Exactly 25 percent is not above 25.
        (25.0, [8, 10], None),
        # Above a minimum of zero everything is infinitely worse; on it nothing is.
        (5.0, [1, 0, 0, 0.1], 4),
    ],
)
def test_generalization_loss_is_the_percentage_above_the_minimum(alpha, losses, stops):
    assert stop_epoch(rule(kind="generalization_loss", alpha=alpha), losses) == stops


#: Strips of 2. Training: (4, 2): mean 3, minimum 2, P = 1000 (3/2 - 1) = 500;
#: (2, 1.9): mean 1.95, P = 1000 (1.95/1.9 - 1) = 26.3; (1.9, 1.9): P = 0.
TRAINING = [4, 2, 2, 1.9, 1.9, 1.9]


@pytest.mark.parametrize(
    ("alpha", "losses", "stops"),
    [
        # GL at the ends of strips: 10, 20, 20 percent; quotients 0.02, 0.76, infinite.
        (0.5, [10, 11, 11, 12, 12, 12], 4),
        (0.7, [10, 11, 11, 12, 12, 12], 4),
        (0.8, [10, 11, 11, 12, 12, 12], 6),
        (0.01, [10, 11, 11, 12, 12, 12], 2),
        # Without progress but at the minimum: 0 is not above 0.
        (0.01, [10, 9, 8, 7, 6, 5], None),
        # GL is 25 and P 500: their quotient is not above its own value.
        (0.05, [8, 10, 8, 8, 8, 8], None),
        # The rise in the middle of a strip is not looked at.
        (0.01, [10, 9, 20, 8, 20, 7], None),
    ],
)
def test_progress_quotient_weighs_the_loss_against_training_progress(alpha, losses, stops):
    own = rule(kind="progress_quotient", alpha=alpha, strip=2)
    assert stop_epoch(own, losses, TRAINING) == stops


@pytest.mark.parametrize(
    ("increases", "strip", "losses", "stops"),
    [
        # Strips of 1: up, up, down, up, up, up.
        (1, 1, [5, 6, 7, 6, 7, 8, 9], 2),
        (2, 1, [5, 6, 7, 6, 7, 8, 9], 3),
        (3, 1, [5, 6, 7, 6, 7, 8, 9], 7),
        (4, 1, [5, 6, 7, 6, 7, 8, 9], None),
        # Equal is no increase.
        (1, 1, [5, 5, 5], None),
        # Strips of 2: their ends are 4, 3, 5, 6.
        (1, 2, [9, 4, 9, 3, 1, 5, 1, 6], 6),
        (2, 2, [9, 4, 9, 3, 1, 5, 1, 6], 8),
    ],
)
def test_successive_increases_compare_the_ends_of_strips(increases, strip, losses, stops):
    own = rule(kind="successive_increases", increases=increases, strip=strip)
    assert stop_epoch(own, losses) == stops


def test_only_its_own_rule_ends_a_training_and_the_others_are_recorded():
    losses = [10, 8, 9, 10, 11, 12, 13, 14, 15, 16]
    *_, last = watch(NoStopping(kind="none"), losses)
    assert not last.stops
    # Patience 5 after the best of epoch 2; GL 12.5 percent at 3. PQ at the end of the first strip: GL
    # 37.5, P 0. UP needs three rises of strips of five: the second strip ends the curve.
    assert last.stopped == {"patience": 7, "generalization_loss": 3, "progress_quotient": 5}
    *_, last = watch(Patience(kind="patience", patience=1), losses)
    assert last.stops
    assert last.stopped["patience"] == 3


RULES = [
    NoStopping(kind="none"),
    Patience(kind="patience", patience=2, min_delta=0.1),
    rule(kind="generalization_loss", alpha=20.0),
    rule(kind="progress_quotient", strip=3),
    rule(kind="successive_increases", increases=2, strip=2),
]
LOSSES = st.lists(st.tuples(st.floats(0, 10), st.floats(0, 10)), min_size=2, max_size=30)


@settings(deadline=None, max_examples=50)
@given(curve=LOSSES, cut=st.integers(0, 29))
@pytest.mark.parametrize("own", RULES, ids=lambda one: one.kind)
def test_restored_in_the_middle_of_a_curve_it_goes_on_as_if_nothing_had_been(own, curve, cut):
    whole = broken = EarlyStopping.start(own)
    for number, (train_loss, val_loss) in enumerate(curve):
        metrics = {"train_loss": train_loss, "train_cost": train_loss, "val_loss": val_loss}
        whole = whole.observe(metrics)
        if number == cut:
            broken = EarlyStopping.restore(own, broken.state())
        broken = broken.observe(metrics)
    assert broken == whole


@settings(deadline=None, max_examples=200)
@given(curve=LOSSES)
# The mean of these five equal losses rounds to less than one of them.
@example(curve=[(3.6681441598892977, 0.0)] * 5)
def test_the_fold_equals_the_definitions_over_the_whole_curve(curve):
    training, validation = [one for one, _ in curve], [one for _, one in curve]
    *_, last = watch(NoStopping(kind="none"), validation, training)
    for kind, stops in (
        ("generalization_loss", lambda t: generalization_loss(validation, t) > 5),
        ("progress_quotient", lambda t: progress_quotient(training, validation, t, 5) > 1),
        ("successive_increases", lambda t: has_risen(validation, t, 3, 5)),
    ):
        expected = next((t for t in range(1, len(curve) + 1) if stops(t)), None)
        assert last.stopped.get(kind) == expected


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
