"""Checks of regularizers: clashes with the task, with each other, with norm and optimizer."""

import pytest

from tests.support.spec_checks import (
    MLP,
    POINTS,
    RECONSTRUCTION,
    REGRESSION,
    SMALL,
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
    check_cutmix_has_images,
    check_label_regularizers_have_classes,
    check_single_average,
    warn_average_of_few_points,
    warn_averaged_zeros,
    warn_decayed_gains,
    warn_doubled_decay,
    warn_ineffective_scale_penalty,
    warn_labels_softened_twice,
    warn_mismatched_decay,
    warn_monitor_of_mixed_examples,
    warn_monitored_cost,
    warn_proximal_l1_without_sgd,
    warn_shut_branches,
    warn_slow_average,
    warn_subgradient_l1,
)
from trainer.spec.builtin import BUILT_IN

SKIPPING = {"name": "resnet20", "width": 8, "skip_init": True}


def clipping(value, **rest):
    part = {"kind": "adaptive_gradient_clipping", "value": value}
    return {"regularization": [part], "training": {"epochs": 5, "batch_size": 64}, **rest}


def decay(**options):
    return {"regularization": [{"kind": "weight_decay", "value": 0.1, **options}]}


#: The check, the spec, the dataset, the field, a layer (or None), words of the detail or the remedy.
BAD = [
    (
        check_label_regularizers_have_classes,
        make_spec(**REGRESSION, norm="none", regularization=[{"kind": "mixup"}]),
        VALUES,
        "/regularization/0/kind",
        None,
        "but the task is regression",
    ),
    (
        check_label_regularizers_have_classes,
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
        check_cutmix_has_images,
        make_spec(MLP, regularization=[{"kind": "cutmix"}]),
        POINTS,
        "/regularization/0/kind",
        None,
        "mixup",
    ),
    (
        check_cutmix_has_images,
        make_spec(MLP, regularization=[{"kind": "mixup"}, {"kind": "cutmix"}]),
        BUILT_IN["mnist1d"],
        "/regularization/1/kind",
        None,
        "pastes parts of images",
    ),
    (
        check_single_average,
        make_spec(regularization=[{"kind": "ema"}, {"kind": "swa"}]),
        DIGITS,
        "/regularization/1/kind",
        None,
        "one of them",
    ),
    (
        check_single_average,
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
    (
        warn_subgradient_l1,
        {"regularization": [{"kind": "l1", "value": 0.1}]},
        DIGITS,
        "sgd follows",
    ),
    (
        warn_subgradient_l1,
        {"regularization": [{"kind": "l1", "value": 0.1}], "optimizer": {"kind": "adam"}},
        DIGITS,
        "adam follows",
    ),
    (
        warn_doubled_decay,
        {"regularization": [{"kind": "l2", "value": 0.1}, {"kind": "weight_decay", "value": 0.1}]},
        DIGITS,
        "add up",
    ),
    (
        warn_doubled_decay,
        {"regularization": [{"kind": "weight_decay", "value": 1.0}, {"kind": "l2", "value": 1.0}]},
        DIGITS,
        "add up",
    ),
    (
        warn_subgradient_l1,
        {"regularization": [{"kind": "elastic_net", "value": 0.1}]},
        DIGITS,
        "elastic_net is a penalty",
    ),
    *(
        (
            warn_proximal_l1_without_sgd,
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
            warn_averaged_zeros,
            {"regularization": [{"kind": "l1", "value": 0.1, "proximal": True}, average]},
            DIGITS,
            f"{average['kind']} averages over times",
        )
        for average in ({"kind": "ema", "decay": 0.9}, {"kind": "swa"})
    ),
    (
        warn_ineffective_scale_penalty,
        {
            "regularization": [{"kind": "max_norm"}],
            "norm": {"kind": "none"},
            "weights": {"kind": "spectral"},
        },
        DIGITS,
        "spectral takes out",
    ),
    (
        warn_mismatched_decay,
        {
            "regularization": [{"kind": "weight_decay", "value": 0.1, "mode": "coupled"}],
            "optimizer": {"kind": "adamw"},
        },
        DIGITS,
        "is adam",
    ),
    (
        warn_mismatched_decay,
        {"regularization": [{"kind": "l2", "value": 0.1}], "optimizer": {"kind": "adam"}},
        DIGITS,
        "not the decoupled decay of adamw",
    ),
    (
        warn_ineffective_scale_penalty,
        {"regularization": [{"kind": "max_norm"}]},
        DIGITS,
        "batch norm takes out",
    ),
    (
        warn_ineffective_scale_penalty,
        {
            "regularization": [{"kind": "weight_decay", "value": 0.1}],
            "weights": {"kind": "weight_norm"},
            "norm": {"kind": "group", "groups": 4},
        },
        DIGITS,
        "the v of weight_norm",
    ),
    (
        warn_labels_softened_twice,
        {"regularization": [{"kind": "mixup"}, {"kind": "label_smoothing"}]},
        DIGITS,
        "mixup and label_smoothing",
    ),
    (
        warn_labels_softened_twice,
        {"regularization": [{"kind": "label_smoothing"}, {"kind": "cutmix"}]},
        DIGITS,
        "cutmix and label_smoothing",
    ),
    *(
        (
            warn_monitor_of_mixed_examples,
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
            warn_monitor_of_mixed_examples,
            {
                "regularization": [{"kind": kind}],
                "early_stopping": {"kind": "progress_quotient"},
            },
            DIGITS,
            f"with {kind}, the training progress",
        )
        for kind in ("mixup", "cutmix")
    ),
    (
        warn_slow_average,
        {"regularization": [{"kind": "ema", "decay": 0.9999}]},
        DIGITS,
        "10000 steps",
    ),
    (
        warn_slow_average,
        {"regularization": [{"kind": "ema"}], "training": {"steps": 90, "eval_every": 40}},
        DIGITS,
        "has 90",
    ),
    *(
        (
            warn_shut_branches,
            {"model": model, "norm": {"kind": norm}, **clipping(0.01)},
            SMALL,
            words,
        )
        for model, norm, words in (
            (SKIPPING, "none", "stage1_block1.skip_gain, "),
            (SKIPPING, "batch", "stage1_block1.skip_gain, "),
            ({"name": "timm:resnet10t"}, "layer", "layer1.0.bn2.weight, "),
            ({"name": "timm:test_nfnet"}, "none", "stages.0.0.conv3.gain, "),
        )
    ),
    (
        warn_average_of_few_points,
        {"regularization": [{"kind": "swa", "start": 0.95}]},
        DIGITS,
        "averages 1 point",
    ),
    (
        warn_average_of_few_points,
        {"regularization": [{"kind": "swa"}], "schedule": {"kind": "cosine"}},
        DIGITS,
        "nearly equal points",
    ),
    (
        warn_average_of_few_points,
        {"regularization": [{"kind": "swa"}], "early_stopping": {"kind": "patience"}},
        DIGITS,
        "before swa begins",
    ),
    *(
        (warn_mismatched_decay, {**decay(mode=mode), "optimizer": {"kind": "adam"}}, DIGITS, words)
        for mode, words in (
            (None, "weight_decay goes through adam's scaling"),
            ("coupled", "weight_decay goes through adam's scaling"),
            ("decoupled", "with decoupled weight decay is adamw"),
        )
    ),
    (
        warn_ineffective_scale_penalty,
        decay(),
        DIGITS,
        "weight_decay shrinks weights whose scale batch norm",
    ),
    (
        warn_ineffective_scale_penalty,
        {"norm": {"kind": "rms"}, "model": MLP, "regularization": [{"kind": "l2", "value": 0.1}]},
        DIGITS,
        "l2 shrinks weights whose scale rms norm takes out again (linear1, linear2)",
    ),
    (warn_decayed_gains, decay(parameters="all"), DIGITS, "shrinks the gains of batch norm"),
    (
        warn_decayed_gains,
        {**decay(parameters="weights_and_norms"), "norm": {"kind": "group", "groups": 2}},
        DIGITS,
        "shrinks the gains of group norm",
    ),
    *(
        (
            warn_monitored_cost,
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
    {**clipping(0.2), "model": SKIPPING, "norm": {"kind": "none"}},
    {**clipping(0.01, optimizer={"kind": "adam"}), "model": SKIPPING, "norm": {"kind": "none"}},
    {**clipping(0.01), "model": {"name": "resnet20", "width": 8}, "norm": {"kind": "none"}},
    {"model": SKIPPING, "norm": {"kind": "none"}},
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
