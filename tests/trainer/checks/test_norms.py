"""Checks of norm layers: undefined on a layout, groups that do not divide, too few values."""

import pytest
import torch

from tests.support.spec_checks import (
    COLOUR,
    MLP,
    POINTS,
    REGRESSION,
    SMALL,
    VALUES,
    VIT,
    assert_accepted,
    assert_no_warnings,
    assert_refused_by_this_check_alone,
    assert_warned_about_by_this_check_alone,
    group,
    name_case,
)
from tests.support.trainer_specs import DIGITS, NORMS, make_info, make_spec
from trainer.checks.norms import (
    check_elements_per_group,
    check_frozen_statistics_are_of_a_training,
    check_groups_divide_channels,
    check_norm_fits_sites,
    check_norm_sites_exist,
    check_norms_replaceable,
    check_positions_per_channel,
    warn_curve_replaces_batch_norm,
    warn_filter_response_without_tlu,
    warn_idle_lrn,
    warn_norm_behind_scaled_weights,
    warn_redundant_weight_scaling,
    warn_untuned_baseline,
    warn_weight_standardization_without_norm,
)
from trainer.checks.run import check
from trainer.models.build import build_model
from trainer.spec.layouts import find_gap


def empty_cells():
    """Every norm that is not defined on vectors, in an MLP; on tokens, in two transformers."""
    for name in NORMS:
        for model, info, layout, layer in (
            (MLP, DIGITS, "N,C", "norm1"),
            ({"name": "mlp", "hidden": [4]}, POINTS, "N,C", "norm1"),
            (VIT, DIGITS, "N,L,C", "blocks.0.norm1"),
            ("timm:vit_tiny_patch16_224", COLOUR, "N,L,C", "blocks.0.norm1"),
        ):
            spec = make_spec(model, name)
            if (gap := find_gap(spec.norm, layout)) is not None:
                yield spec, info, layer, gap


EMPTY_CELLS = list(empty_cells())

POLYNOMIAL = make_spec(**REGRESSION, norm="batch")

#: The check, the spec, the dataset, the field, a layer (or None), words of the detail or the remedy.
BAD = [
    (
        check_frozen_statistics_are_of_a_training,
        make_spec("cnn", {"kind": "batch", "frozen": "all"}),
        DIGITS,
        "/norm/frozen",
        None,
        "means of 0 and variances of 1",
    ),
    (
        check_frozen_statistics_are_of_a_training,
        make_spec(MLP, {"kind": "batch", "frozen": "statistics"}),
        DIGITS,
        "/norm/frozen",
        None,
        "init_from",
    ),
    (
        check_norms_replaceable,
        make_spec("timm:convnextv2_femto"),
        COLOUR,
        "/model/name",
        "stages.0.blocks.0.mlp.grn",
        "cannot be replaced",
    ),
    (
        check_norms_replaceable,
        make_spec("timm:convnextv2_atto", "layer"),
        COLOUR,
        "/model/name",
        "stages.0.blocks.0.mlp.grn",
        "GlobalResponseNorm",
    ),
    (
        check_norm_sites_exist,
        POLYNOMIAL,
        VALUES,
        "/norm/kind",
        None,
        "neither norm layers nor convolutions",
    ),
    (
        check_norm_sites_exist,
        make_spec(**REGRESSION, norm=group(2)),
        VALUES,
        "/norm/kind",
        None,
        "group norm has no place",
    ),
    (
        check_norm_fits_sites,
        make_spec("resnet20", {"kind": "layer", "placement": "after"}),
        DIGITS,
        "/norm/placement",
        "stage1_block1.norm2",
        "not followed by an activation",
    ),
    (
        check_norm_fits_sites,
        make_spec("cnn", {"kind": "evonorm", "placement": "after"}),
        DIGITS,
        "/norm/placement",
        "norm1",
        "takes the place of the activation",
    ),
    (
        check_norm_fits_sites,
        make_spec("cnn", {"kind": "filter_response", "placement": "after"}),
        DIGITS,
        "/norm/placement",
        "norm3",
        "takes the place of the activation",
    ),
    (
        check_norm_fits_sites,
        make_spec("timm:vit_tiny_patch16_224", "group"),
        COLOUR,
        "/norm/kind",
        "blocks.0.norm1",
        "sequence of tokens",
    ),
    (
        check_norm_fits_sites,
        make_spec("torchvision:vit_b_16", "instance"),
        COLOUR,
        "/norm/kind",
        "encoder.ln",
        "sequence of tokens",
    ),
    (
        check_groups_divide_channels,
        make_spec({"name": "cnn", "width": 6}, group(4)),
        DIGITS,
        "/norm/groups",
        "norm1",
        "one of 1, 2, 3, 6,",
    ),
    (
        check_groups_divide_channels,
        make_spec({"name": "mlp", "hidden": [12, 10]}, group(6)),
        DIGITS,
        "/norm/groups",
        "norm2",
        "one of 1, 2,",
    ),
    (
        check_groups_divide_channels,
        make_spec("torchvision:mobilenet_v3_small", group(32)),
        COLOUR,
        "/norm/groups",
        "features.0.1",
        "16 channels",
    ),
    (
        check_groups_divide_channels,
        make_spec({"name": "cnn", "width": 6}, {"kind": "group", "channels_per_group": 4}),
        DIGITS,
        "/norm/channels_per_group",
        "norm1",
        "channels_per_group is 4",
    ),
    (
        check_positions_per_channel,
        make_spec("torchvision:resnet18", "filter_response"),
        SMALL,
        "/norm/kind",
        "layer4.0.bn1",
        "filter response norm averages over positions",
    ),
    (
        check_positions_per_channel,
        make_spec("cnn", "filter_response"),
        make_info(shape=(1, 4, 4)),
        "/norm/kind",
        "norm3",
        "larger images",
    ),
    (
        check_groups_divide_channels,
        make_spec({"name": "cnn", "width": 6}, {"kind": "evonorm", "groups": 4}),
        DIGITS,
        "/norm/groups",
        "norm1",
        "one of 1, 2, 3, 6,",
    ),
    (
        check_elements_per_group,
        make_spec({"name": "mlp", "hidden": [8, 1]}, "rms"),
        DIGITS,
        "/norm/kind",
        "norm2",
        "its output is a sign",
    ),
    (
        check_elements_per_group,
        make_spec({"name": "cnn", "width": 1}, "layer-channels"),
        DIGITS,
        "/norm/kind",
        "norm1",
        "amplified rounding noise",
    ),
    *(
        (check_norm_fits_sites, spec, info, "/norm/kind", layer, gap.reason)
        for spec, info, layer, gap in EMPTY_CELLS
    ),
    (
        check_positions_per_channel,
        make_spec("torchvision:resnet18", "instance"),
        SMALL,
        "/norm/kind",
        "layer4.0.bn1",
        "larger images",
    ),
    (
        check_positions_per_channel,
        make_spec("torchvision:convnext_tiny", "instance"),
        COLOUR,
        "/norm/kind",
        "classifier.0",
        "one per channel",
    ),
    (
        check_elements_per_group,
        make_spec(MLP, group(8)),
        DIGITS,
        "/norm/groups",
        "norm1",
        "amplified rounding noise",
    ),
    (
        check_elements_per_group,
        make_spec({"name": "mlp", "hidden": [8, 1]}, "layer"),
        DIGITS,
        "/norm/kind",
        "norm2",
        "a wider model",
    ),
    (
        check_elements_per_group,
        make_spec("torchvision:resnet18", {"kind": "group", "channels_per_group": 1}),
        SMALL,
        "/norm/channels_per_group",
        "layer4.0.bn1",
        "larger images",
    ),
]

GOOD = [
    (make_spec("timm:vit_tiny_patch16_224", "batch"), COLOUR),
    (make_spec("torchvision:alexnet", "batch"), COLOUR),
    (make_spec("timm:nf_resnet50", "none"), COLOUR),
    (make_spec("cnn", {"kind": "layer", "placement": "after"}), DIGITS),
    (make_spec("torchvision:alexnet", "none"), COLOUR),
    (make_spec({"name": "cnn", "width": 6}, group(3)), DIGITS),
    (make_spec("cnn", "instance"), DIGITS),
    (make_spec(MLP, group(4)), DIGITS),
    (make_spec("cnn", {"kind": "group", "channels_per_group": 1}), DIGITS),
]

#: The check, the spec's options, the dataset, words of the warning.
WARNED = [
    (warn_idle_lrn, {"norm": {"kind": "lrn"}}, DIGITS, "a constant factor of 0.595"),
    (
        warn_idle_lrn,
        {"norm": {"kind": "lrn", "across": "space", "n": 3, "k": 1.0, "alpha": 1e-4}},
        DIGITS,
        "a constant factor of 1 on",
    ),
    (
        warn_filter_response_without_tlu,
        {"norm": {"kind": "filter_response", "tlu": False}},
        DIGITS,
        "removes no mean",
    ),
    (
        warn_filter_response_without_tlu,
        {"norm": {"kind": "filter_response", "tlu": False}, "model": {"name": "resnet20"}},
        SMALL,
        "removes no mean",
    ),
    *(
        (
            warn_curve_replaces_batch_norm,
            {"norm": {"kind": kind}, "model": {"name": model}},
            SMALL,
            "ResNet-50 76.2 to 68.9 %",
        )
        for kind, model in (
            ("dynamic_tanh", "cnn"),
            ("dynamic_tanh", "torchvision:resnet18"),
            ("derf", "cnn"),
        )
    ),
    *(
        (
            warn_redundant_weight_scaling,
            {"weights": {"kind": kind}},
            DIGITS,
            f"so {kind} changes little",
        )
        for kind in ("weight_norm", "spectral")
    ),
    (
        warn_redundant_weight_scaling,
        {"weights": {"kind": "scaled_standardization"}, "norm": {"kind": "batch"}},
        DIGITS,
        "was made for networks without norm",
    ),
    *(
        (
            warn_norm_behind_scaled_weights,
            {"model": {"name": "timm:test_nfnet"}, "norm": norm},
            SMALL,
            "was made for training without a norm",
        )
        for norm in ({"kind": "batch"}, {"kind": "layer"}, {"kind": "rms"})
    ),
    (
        warn_weight_standardization_without_norm,
        {"model": {"name": "timm:resnetv2_50x1_bit"}, "norm": {"kind": "none"}},
        SMALL,
        "with no norm activations grow",
    ),
    *(
        (
            warn_weight_standardization_without_norm,
            {"weights": {"kind": "standardization"}, "norm": {"kind": kind}},
            DIGITS,
            f"with {words} activations grow",
        )
        for kind, words in (("none", "no norm"), ("lrn", "lrn across channels"))
    ),
    (
        warn_untuned_baseline,
        {"norm": {"kind": "none"}, "optimizer": {"kind": "sgd", "lr": 0.3}},
        DIGITS,
        "is unfair to it",
    ),
    (
        warn_untuned_baseline,
        {
            "norm": {"kind": "none"},
            "model": MLP,
            "optimizer": {"kind": "sgd", "lr": 3.0, "momentum": 0.0},
        },
        DIGITS,
        "is unfair to it",
    ),
]

UNWARNED = [
    {"weights": {"kind": "scaled_standardization"}, "norm": {"kind": "none"}},
    {"norm": {"kind": "dynamic_tanh"}, "model": {"name": "vit_small", "patch": 4, "width": 8}},
    {"norm": {"kind": "none"}, "optimizer": {"kind": "sgd", "lr": 0.1}},
    {"weights": {"kind": "standardization"}, "norm": {"kind": "group", "groups": 4}},
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


def test_every_layer_that_the_groups_do_not_divide_is_named():
    report = check(make_spec("torchvision:resnet18", group(128)), COLOUR)
    assert [p.layer for p in report.problems if "64 channels" in p.detail] == [
        "bn1",
        "layer1.0.bn1",
        "layer1.0.bn2",
        "layer1.1.bn1",
        "layer1.1.bn2",
    ]


def test_what_the_group_check_predicts_happens():
    model = build_model(make_spec(MLP, group(8)), DIGITS)
    outputs = []
    model.norm1.register_forward_hook(lambda *args: outputs.append(args[2].detach()))
    model(torch.randn(4, 1, 8, 8))
    assert float(outputs[0].abs().max()) < 1e-4
