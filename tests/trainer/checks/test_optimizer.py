"""Checks of optimizers: least squares for one batch, one step and a linear model; the scale that Lion and Muon lose."""

import pytest

from tests.support.spec_checks import (
    VALUES,
    assert_accepted,
    assert_no_warnings,
    assert_refused_by_this_check_alone,
    assert_warned_about_by_this_check_alone,
    name_case,
)
from tests.support.trainer_specs import DIGITS, make_spec
from trainer.checks.optimizer import (
    check_decay_is_decoupled,
    check_least_squares_alone,
    check_least_squares_float32,
    check_least_squares_model,
    check_least_squares_single_step,
    warn_clipping_without_effect,
    warn_penalty_without_scale,
)
from trainer.checks.run import check


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
    *(
        (
            check_decay_is_decoupled,
            make_spec(
                optimizer={"kind": kind},
                regularization=[
                    {"kind": "dropout", "p": 0.1},
                    {"kind": "weight_decay", "value": 0.1, "mode": "coupled"},
                ],
            ),
            DIGITS,
            "/regularization/1/mode",
            None,
            f"whose scale {kind} takes out mode: decoupled",
        )
        for kind in ("lion", "muon")
    ),
]

GOOD = [
    (fitted(), VALUES),
    *(
        (
            make_spec(
                optimizer={"kind": kind},
                regularization=[{"kind": "weight_decay", "value": 0.1, "mode": mode}],
            ),
            DIGITS,
        )
        for kind in ("lion", "muon")
        for mode in (None, "decoupled")
    ),
]

#: The check, the spec's options, the dataset, words of the warning.
WARNED = [
    *(
        (
            warn_penalty_without_scale,
            {"regularization": [penalty], "optimizer": {"kind": kind}},
            DIGITS,
            f"of which {kind} takes {how}",
        )
        for kind, how in (("lion", "the sign"), ("muon", "an orthogonalized matrix"))
        for penalty in (
            {"kind": "l2", "value": 0.1},
            {"kind": "l1", "value": 0.1},
            {"kind": "elastic_net", "value": 0.1},
        )
    ),
    *(
        (
            warn_clipping_without_effect,
            {
                "regularization": [{"kind": "gradient_clipping", "by": by}],
                "optimizer": {"kind": kind},
            },
            DIGITS,
            f"gradient_clipping by {by} limits gradients whose scale {kind}",
        )
        for kind, by in (("lion", "norm"), ("lion", "value"), ("muon", "norm"))
    ),
    (
        warn_clipping_without_effect,
        {
            "regularization": [{"kind": "adaptive_gradient_clipping"}],
            "optimizer": {"kind": "lion"},
        },
        DIGITS,
        "adaptive_gradient_clipping limits gradients whose scale lion",
    ),
]

UNWARNED = [
    {"regularization": [{"kind": "adaptive_gradient_clipping"}], "optimizer": {"kind": "muon"}},
    {
        "regularization": [{"kind": "gradient_clipping", "by": "value"}],
        "optimizer": {"kind": "muon"},
    },
    {"regularization": [{"kind": "gradient_clipping"}], "optimizer": {"kind": "sgd"}},
    {"regularization": [{"kind": "l2", "value": 0.0}], "optimizer": {"kind": "muon"}},
]


@pytest.mark.parametrize("case", BAD, ids=name_case)
def test_a_bad_spec_is_named_by_field_layer_and_remedy_and_by_this_check_alone(monkeypatch, case):
    assert_refused_by_this_check_alone(monkeypatch, *case)


@pytest.mark.parametrize("case", GOOD, ids=name_case)
def test_a_good_neighbour_passes_and_its_parameters_are_counted(case):
    assert_accepted(*case)


@pytest.mark.parametrize("case", WARNED, ids=name_case)
def test_a_doubtful_spec_is_warned_about_by_this_check_alone(monkeypatch, case):
    assert_warned_about_by_this_check_alone(monkeypatch, *case)


@pytest.mark.parametrize("options", UNWARNED)
def test_a_sound_spec_has_no_warnings(options):
    assert_no_warnings(options)


def test_a_plan_says_how_much_of_a_model_muon_moves():
    report = check(make_spec("cnn", "batch", optimizer={"kind": "muon"}), DIGITS)
    plain = check(make_spec("cnn", "batch"), DIGITS)
    # Of 32, 64 and 128 channels, the last two convolutions.
    moved = 9 * (32 * 64 + 64 * 128)
    assert f"muon moves {moved} of {report.parameters} parameters, adamw the rest" in report.notes
    assert not any("muon" in note for note in plain.notes)


def test_a_model_without_a_hidden_matrix_is_refused_to_muon():
    spec = fitted(optimizer={"kind": "muon"})
    (problem,) = check(spec, VALUES).problems
    assert problem.pointer == "/optimizer/kind"
    assert "but polynomial has none" in problem.detail
