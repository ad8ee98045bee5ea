"""Checks of least squares: for one batch, one step and a model linear in its weights."""

import pytest

from tests.support.spec_checks import (
    VALUES,
    assert_accepted,
    assert_refused_by_this_check_alone,
    name_case,
)
from tests.support.trainer_specs import DIGITS, make_spec
from trainer.checks.optimizer import (
    check_least_squares_alone,
    check_least_squares_float32,
    check_least_squares_model,
    check_least_squares_single_step,
)


def fitted(model="polynomial", **more):
    """Least squares over 100 examples."""
    return make_spec(
        model,
        "none",
        **{
            "dataset": {"name": "polynomial_noise", "train_size": 100},
            "task": {"kind": "regression"},
            "optimizer": {"kind": "least_squares"},
            "training": {"epochs": 1, "batch_size": 100},
            **more,
        },
    )


#: The check, the spec, the dataset, the field, a layer (or None), words of the detail or the remedy.
BAD = [
    (
        check_least_squares_model,
        fitted("mlp"),
        VALUES,
        "/optimizer/kind",
        None,
        "linear in its weights but mlp is not optimizer: {kind: sgd}",
    ),
    (
        check_least_squares_model,
        make_spec("cnn", optimizer={"kind": "least_squares"}),
        DIGITS,
        "/optimizer/kind",
        None,
        "but cnn is not",
    ),
    (
        check_least_squares_single_step,
        fitted(training={"epochs": 1, "batch_size": 50}),
        VALUES,
        "/training/batch_size",
        None,
        "all 100 training examples at once but batch_size is 50 batch_size of at least 100",
    ),
    (
        check_least_squares_single_step,
        fitted(training={"epochs": 3, "batch_size": 100}),
        VALUES,
        "/training/epochs",
        None,
        "the training has 3 periods training: {epochs: 1}",
    ),
    (
        check_least_squares_single_step,
        fitted(training={"epochs": 1, "batch_size": 100, "accumulate": 2}),
        VALUES,
        "/training/accumulate",
        None,
        "accumulate is 2",
    ),
    (
        check_least_squares_alone,
        fitted(regularization=[{"kind": "l2", "value": 0.1}]),
        VALUES,
        "/regularization/0/kind",
        None,
        "cannot use l2",
    ),
    (
        check_least_squares_alone,
        fitted(
            regularization=[
                {"kind": "gradient_clipping"},
                {"kind": "weight_decay", "value": 0.1},
            ]
        ),
        VALUES,
        "/regularization/1/kind",
        None,
        "cannot use weight_decay",
    ),
    (
        check_least_squares_float32,
        fitted(training={"epochs": 1, "batch_size": 100, "precision": "bf16"}),
        VALUES,
        "/training/precision",
        None,
        "all digits of the targets but precision is bf16 precision: float32",
    ),
    (
        check_least_squares_float32,
        fitted(training={"epochs": 1, "batch_size": 100, "compile": True}),
        VALUES,
        "/training/compile",
        None,
        "looks into the model while it runs",
    ),
]

GOOD = [
    (fitted(), VALUES),
]


@pytest.mark.parametrize("case", BAD, ids=name_case)
def test_a_bad_spec_is_named_by_field_layer_and_remedy_and_by_this_check_alone(monkeypatch, case):
    assert_refused_by_this_check_alone(monkeypatch, *case)


@pytest.mark.parametrize("case", GOOD, ids=name_case)
def test_a_good_neighbour_passes_and_its_parameters_are_counted(case):
    assert_accepted(*case)
