"""Checks of regularizers: clashes with the task, with each other, with norm and optimizer."""

import pytest

from tests.support.spec_checks import (
    MLP,
    POINTS,
    RECONSTRUCTION,
    REGRESSION,
    VALUES,
    VIT,
    assert_accepted,
    assert_no_warnings,
    assert_refused_by_this_check_alone,
    assert_warned_about_by_this_check_alone,
    name_case,
)
from tests.support.trainer_specs import DIGITS, make_spec
from trainer.checks.regularizers import (
    average_of_little,
    averaged_zeros,
    decay_of_another_kind,
    decayed_gains,
    doubled_decay,
    inexact_threshold,
    labels_without_classes,
    monitored_cost,
    monitored_mixture,
    pasted_vectors,
    scale_without_effect,
    slow_average,
    softened_twice,
    subgradient_l1,
    two_averages,
)
from trainer.spec.builtin import BUILT_IN


def decay(**options):
    return {"regularization": [{"kind": "weight_decay", "value": 0.1, **options}]}


#: The check, the spec, the dataset, the field, a layer (or None), words of the detail or the remedy.
BAD = [
    (
        labels_without_classes,
        make_spec(**REGRESSION, norm="none", regularization=[{"kind": "mixup"}]),
        VALUES,
        "/regularization/0/kind",
        None,
        "a regression has not",
    ),
    (
        labels_without_classes,
        make_spec(
            "autoencoder",
            **RECONSTRUCTION,
            regularization=[{"kind": "l2", "value": 0.1}, {"kind": "label_smoothing"}],
        ),
        DIGITS,
        "/regularization/1/kind",
        None,
        "no label_smoothing",
    ),
    (
        pasted_vectors,
        make_spec(MLP, regularization=[{"kind": "cutmix"}]),
        POINTS,
        "/regularization/0/kind",
        None,
        "mixup",
    ),
    (
        pasted_vectors,
        make_spec(MLP, regularization=[{"kind": "mixup"}, {"kind": "cutmix"}]),
        BUILT_IN["mnist1d"],
        "/regularization/1/kind",
        None,
        "pastes parts of images",
    ),
    (
        two_averages,
        make_spec(regularization=[{"kind": "ema"}, {"kind": "swa"}]),
        DIGITS,
        "/regularization/1/kind",
        None,
        "one of them",
    ),
    (
        two_averages,
        make_spec(regularization=[{"kind": "swa"}, {"kind": "mixup"}, {"kind": "ema"}]),
        DIGITS,
        "/regularization/2/kind",
        None,
        "two averages",
    ),
]

GOOD = [
    (make_spec(regularization=[{"kind": "mixup"}, {"kind": "cutmix"}, {"kind": "ema"}]), DIGITS),
]

#: The check, the spec's options, the dataset, words of the warning.
WARNED = [
    (subgradient_l1, {"regularization": [{"kind": "l1", "value": 0.1}]}, DIGITS, "sgd follows"),
    (
        subgradient_l1,
        {"regularization": [{"kind": "l1", "value": 0.1}], "optimizer": {"kind": "adam"}},
        DIGITS,
        "adam follows",
    ),
    (
        doubled_decay,
        {"regularization": [{"kind": "l2", "value": 0.1}, {"kind": "weight_decay", "value": 0.1}]},
        DIGITS,
        "add up",
    ),
    (
        doubled_decay,
        {"regularization": [{"kind": "weight_decay", "value": 1.0}, {"kind": "l2", "value": 1.0}]},
        DIGITS,
        "add up",
    ),
    (
        subgradient_l1,
        {"regularization": [{"kind": "elastic_net", "value": 0.1}]},
        DIGITS,
        "elastic_net is a penalty",
    ),
    *(
        (
            inexact_threshold,
            {
                "regularization": [{"kind": "l1", "value": 0.1, "proximal": True}],
                "optimizer": {"kind": kind},
            },
            DIGITS,
            f"{kind} scales each weight's step",
        )
        for kind in ("adam", "adamw")
    ),
    *(
        (
            averaged_zeros,
            {"regularization": [{"kind": "l1", "value": 0.1, "proximal": True}, average]},
            DIGITS,
            f"{average['kind']} averages over times",
        )
        for average in ({"kind": "ema", "decay": 0.9}, {"kind": "swa"})
    ),
    (
        scale_without_effect,
        {
            "regularization": [{"kind": "max_norm"}],
            "norm": {"kind": "none"},
            "weights": {"kind": "spectral"},
        },
        DIGITS,
        "spectral takes out",
    ),
    (
        decay_of_another_kind,
        {
            "regularization": [{"kind": "weight_decay", "value": 0.1, "mode": "coupled"}],
            "optimizer": {"kind": "adamw"},
        },
        DIGITS,
        "is adam",
    ),
    (
        decay_of_another_kind,
        {"regularization": [{"kind": "l2", "value": 0.1}], "optimizer": {"kind": "adam"}},
        DIGITS,
        "not the decoupled decay of adamw",
    ),
    (
        scale_without_effect,
        {"regularization": [{"kind": "max_norm"}]},
        DIGITS,
        "batch norm takes out",
    ),
    (
        scale_without_effect,
        {
            "regularization": [{"kind": "weight_decay", "value": 0.1}],
            "weights": {"kind": "weight_norm"},
            "norm": {"kind": "group", "groups": 4},
        },
        DIGITS,
        "the v of weight_norm",
    ),
    (
        softened_twice,
        {"regularization": [{"kind": "mixup"}, {"kind": "label_smoothing"}]},
        DIGITS,
        "mixup and label_smoothing",
    ),
    (
        softened_twice,
        {"regularization": [{"kind": "label_smoothing"}, {"kind": "cutmix"}]},
        DIGITS,
        "cutmix and label_smoothing",
    ),
    *(
        (
            monitored_mixture,
            {
                "regularization": [{"kind": kind}],
                "early_stopping": {"kind": "patience", "monitor": "train_loss"},
            },
            DIGITS,
            f"with {kind}, train_loss is",
        )
        for kind in ("mixup", "cutmix")
    ),
    *(
        (
            monitored_mixture,
            {
                "regularization": [{"kind": kind}],
                "early_stopping": {"kind": "progress_quotient"},
            },
            DIGITS,
            f"with {kind}, the training progress",
        )
        for kind in ("mixup", "cutmix")
    ),
    (slow_average, {"regularization": [{"kind": "ema", "decay": 0.9999}]}, DIGITS, "10000 steps"),
    (
        slow_average,
        {"regularization": [{"kind": "ema"}], "training": {"steps": 90, "eval_every": 40}},
        DIGITS,
        "has 90",
    ),
    (
        average_of_little,
        {"regularization": [{"kind": "swa", "start": 0.95}]},
        DIGITS,
        "averages 1 point",
    ),
    (
        average_of_little,
        {"regularization": [{"kind": "swa"}], "schedule": {"kind": "cosine"}},
        DIGITS,
        "nearly equal points",
    ),
    (
        average_of_little,
        {"regularization": [{"kind": "swa"}], "early_stopping": {"kind": "patience"}},
        DIGITS,
        "before swa begins",
    ),
    *(
        (decay_of_another_kind, {**decay(mode=mode), "optimizer": {"kind": "adam"}}, DIGITS, words)
        for mode, words in (
            (None, "weight_decay goes through adam's scaling"),
            ("coupled", "weight_decay goes through adam's scaling"),
            ("decoupled", "with decoupled weight decay is adamw"),
        )
    ),
    (scale_without_effect, decay(), DIGITS, "weight_decay shrinks weights whose scale batch norm"),
    (
        scale_without_effect,
        {"norm": {"kind": "rms"}, "model": MLP, "regularization": [{"kind": "l2", "value": 0.1}]},
        DIGITS,
        "l2 shrinks weights whose scale rms norm takes out again (linear1, linear2)",
    ),
    (decayed_gains, decay(parameters="all"), DIGITS, "shrinks the gains of batch norm"),
    (
        decayed_gains,
        {**decay(parameters="weights_and_norms"), "norm": {"kind": "group", "groups": 2}},
        DIGITS,
        "shrinks the gains of group norm",
    ),
    *(
        (
            monitored_cost,
            {
                "regularization": [term],
                "early_stopping": {"kind": "patience", "monitor": "train_cost"},
            },
            DIGITS,
            f"train_cost holds {term['kind']}",
        )
        for term in ({"kind": "label_smoothing"}, {"kind": "l2", "value": 0.1})
    ),
]

UNWARNED = [
    {"regularization": [{"kind": "max_norm"}], "norm": {"kind": "none"}},
    {"regularization": [{"kind": "max_norm"}], "norm": {"kind": "dynamic_tanh"}, "model": MLP},
    {"regularization": [{"kind": "mixup"}], "early_stopping": {"kind": "generalization_loss"}},
    {
        "regularization": [{"kind": "l1", "value": 0.0}, {"kind": "l2", "value": 0.1}],
        "norm": {"kind": "none"},
    },
    {**decay(), "model": VIT, "norm": {"kind": "layer"}},
    {**decay(), "norm": {"kind": "dynamic_tanh"}, "model": MLP},
    {
        "regularization": [{"kind": "label_smoothing"}, {"kind": "ema", "decay": 0.9}],
        "early_stopping": {"kind": "patience", "monitor": "train_loss"},
    },
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
