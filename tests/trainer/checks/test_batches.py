"""Checks of statistics over batches: batches, micro-batches and virtual batches that are too small."""

from typing import Any

import pytest
import torch

from tests.support.spec_checks import (
    COLOUR,
    MLP,
    SMALL,
    assert_accepted,
    assert_no_warnings,
    assert_refused_by_this_check_alone,
    assert_warned_about_by_this_check_alone,
    batch,
    data,
    dropout,
    name_case,
)
from tests.support.trainer_specs import DIGITS, make_spec
from trainer.checks.batches import (
    check_accumulated_batch_statistics,
    check_compiled_statistics,
    check_part_for_each_device,
    check_values_per_channel,
    warn_batch_statistics_of_each_device,
    warn_dropout_before_batch_norm,
    warn_keras_momentum,
    warn_sync_on_one_device,
    warn_two_values_per_channel,
    warn_uneven_virtual_batches,
    warn_unfinished_renorm_ramp,
    warn_virtual_batch_not_smaller,
)
from trainer.checks.context import build_context
from trainer.models.build import build_model

SYNC = {"kind": "batch", "sync": True}


def devices(count: int) -> dict[str, Any]:
    return {"resources": {"devices": count}}


#: The check, the spec, the dataset, the field, a layer (or None), words of the detail or the remedy.
BAD = [
    (
        check_values_per_channel,
        make_spec(MLP, **batch(1)),
        DIGITS,
        "/training/batch_size",
        "norm2",
        "a batch gives",
    ),
    (
        check_values_per_channel,
        make_spec(MLP, **batch(3)),
        DIGITS,
        "/training/batch_size",
        "norm1",
        "drop_last: true",
    ),
    (
        check_values_per_channel,
        make_spec("torchvision:resnet18", **batch(1)),
        SMALL,
        "/training/batch_size",
        "layer4.1.bn2",
        "a larger batch_size",
    ),
    (
        check_values_per_channel,
        make_spec("timm:resnet18", **batch(383)),
        SMALL,
        "/training/batch_size",
        "layer4.1.bn2",
        "last batch of 1150",
    ),
    (
        check_values_per_channel,
        make_spec(MLP, "batch_renorm", **batch(1)),
        DIGITS,
        "/training/batch_size",
        "norm2",
        "batch renorm norm one value",
    ),
    (
        check_values_per_channel,
        make_spec(MLP, "ghost_batch", **batch(3)),
        DIGITS,
        "/training/batch_size",
        "norm1",
        "drop_last: true",
    ),
    (
        check_values_per_channel,
        make_spec(MLP, {"kind": "ghost_batch"}, **data(train_size=97), **batch(128, accumulate=4)),
        DIGITS,
        "/training/batch_size",
        "norm1",
        "accumulate 4, so the last micro-batch of 97 examples",
    ),
    (
        check_accumulated_batch_statistics,
        make_spec("cnn", **batch(64, accumulate=4)),
        DIGITS,
        "/training/accumulate",
        None,
        "kind: ghost_batch, virtual_batch_size: 16}",
    ),
    (
        check_accumulated_batch_statistics,
        make_spec("cnn", "evonorm-B0", **batch(64, accumulate=2)),
        DIGITS,
        "/training/accumulate",
        None,
        "a norm of single samples",
    ),
    (
        check_accumulated_batch_statistics,
        make_spec("cnn", {"kind": "ghost_batch"}, **batch(64, accumulate=4)),
        DIGITS,
        "/norm/virtual_batch_size",
        None,
        "must divide the micro-batches of 16 but is 32",
    ),
    (
        check_part_for_each_device,
        make_spec(MLP, "layer", **batch(383), **devices(4), **data(train_size=1150)),
        DIGITS,
        "/resources/devices",
        None,
        "the last batch of 1150 examples has only 1 to share out",
    ),
    (
        check_part_for_each_device,
        make_spec(MLP, "layer", **batch(2), **devices(4)),
        DIGITS,
        "/resources/devices",
        None,
        "a batch has only 2",
    ),
    (
        check_values_per_channel,
        make_spec(MLP, **batch(6, drop_last=True), **devices(4)),
        DIGITS,
        "/training/batch_size",
        "norm2",
        "gives batch norm one value per channel",
    ),
    (
        check_compiled_statistics,
        make_spec("cnn", SYNC, **batch(64, compile=True), **devices(2)),
        DIGITS,
        "/norm/sync",
        None,
        "compile: false",
    ),
    (
        check_compiled_statistics,
        make_spec(MLP, SYNC, **batch(64, compile=True), **devices(4)),
        DIGITS,
        "/norm/sync",
        None,
        "compile: false",
    ),
]

GOOD = [
    (make_spec(MLP, SYNC, **batch(6, drop_last=True), **devices(4)), DIGITS),
    (make_spec(MLP, "layer", **batch(4, drop_last=True), **devices(4)), DIGITS),
    (
        make_spec(
            "cnn", {"kind": "ghost_batch", "virtual_batch_size": 16}, **batch(64, accumulate=4)
        ),
        DIGITS,
    ),
    (make_spec("cnn", "layer", **batch(64, accumulate=4)), DIGITS),
    (make_spec(MLP, **batch(1), norm="layer"), DIGITS),
    (make_spec(MLP, **batch(3, drop_last=True)), DIGITS),
    (make_spec(MLP, training={"batch_size": 3, "steps": 5, "eval_every": 5}), DIGITS),
    (make_spec(MLP, **batch(5)), DIGITS),
    (make_spec("cnn", **batch(1)), DIGITS),
    (make_spec("torchvision:resnet18", **batch(383)), COLOUR),
]

#: The check, the spec's options, the dataset, words of the warning.
WARNED = [
    (warn_batch_statistics_of_each_device, devices(4), DIGITS, "each device's 16 examples"),
    (
        warn_batch_statistics_of_each_device,
        {**devices(2), **batch(32)},
        DIGITS,
        "each device's 16 examples",
    ),
    (warn_sync_on_one_device, {"norm": SYNC}, DIGITS, "changes nothing on one device"),
    (
        warn_sync_on_one_device,
        {"norm": SYNC, **batch(16)},
        DIGITS,
        "changes nothing on one device",
    ),
    (
        warn_virtual_batch_not_smaller,
        {"norm": {"kind": "ghost_batch"}, **devices(2)},
        DIGITS,
        "32 is not below batch_size 32 of each device",
    ),
    (
        warn_virtual_batch_not_smaller,
        {"norm": {"kind": "ghost_batch", "virtual_batch_size": 64}},
        DIGITS,
        "is then the same as batch norm",
    ),
    (
        warn_virtual_batch_not_smaller,
        {"norm": {"kind": "ghost_batch"}, "training": {"batch_size": 16}},
        DIGITS,
        "32 is not below batch_size 16",
    ),
    (
        warn_unfinished_renorm_ramp,
        {"norm": {"kind": "batch_renorm", "plain_steps": 5000, "ramp_steps": 35000}},
        DIGITS,
        "after 40000 steps but the training has 270",
    ),
    (
        warn_unfinished_renorm_ramp,
        {
            "norm": {"kind": "batch_renorm", "ramp_steps": 100},
            "training": {"steps": 99, "eval_every": 9},
        },
        DIGITS,
        "has 99",
    ),
    (warn_two_values_per_channel, {"model": MLP, "training": {"batch_size": 2}}, DIGITS, "±1"),
    (
        warn_two_values_per_channel,
        {"model": MLP, "norm": {"kind": "ghost_batch", "virtual_batch_size": 2}},
        DIGITS,
        "ghost batch norm sees two values",
    ),
    (
        warn_two_values_per_channel,
        {"model": MLP, "norm": {"kind": "ghost_batch", "virtual_batch_size": 31}},
        DIGITS,
        "last virtual batch sees two values",
    ),
    (
        warn_two_values_per_channel,
        {"model": {"name": "torchvision:resnet18"}, "training": {"batch_size": 2}},
        SMALL,
        "layer4.0.bn1",
    ),
    (
        warn_dropout_before_batch_norm,
        dropout(),
        DIGITS,
        "norm2 (after dropout1), norm3 (after dropout2)",
    ),
    (warn_dropout_before_batch_norm, {"model": MLP, **dropout()}, DIGITS, "norm2 (after dropout1)"),
    *(
        (
            warn_uneven_virtual_batches,
            {"norm": {"kind": "ghost_batch", "virtual_batch_size": size}, **batch(64)},
            DIGITS,
            f"the last virtual batch of each has {rest},",
        )
        for size, rest in ((24, 16), (63, 1))
    ),
    (warn_keras_momentum, {"norm": {"kind": "batch", "momentum": 0.9}}, DIGITS, "is 0.1 here"),
    (
        warn_keras_momentum,
        {"norm": {"kind": "batch_renorm", "momentum": 0.99}},
        DIGITS,
        "a momentum of 0.99 is the weight of the new batch",
    ),
]

UNWARNED = [
    {
        "model": MLP,
        "norm": {"kind": "ghost_batch", "virtual_batch_size": 16},
        **data(train_size=98),
        **batch(64, accumulate=4),
    },
    {"norm": {"kind": "batch", "momentum": 0.4}, "optimizer": {"kind": "sgd", "lr": 1.0}},
    {"training": {"batch_size": 2}},
    {**dropout(), "norm": {"kind": "layer"}},
    {**dropout(), "model": {"name": "mlp", "hidden": [8]}},
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


@pytest.mark.parametrize(
    "case",
    [
        case[1:3]
        for case in BAD
        if case[0] is check_values_per_channel
        and case[2] is DIGITS
        and "renorm" not in case[1].norm.kind
        and case[1].resources.devices == 1
    ],
    ids=name_case,
)
def test_what_the_batch_check_predicts_happens(case):
    spec, info = case
    model = build_model(spec, info)
    training = spec.training
    micro = training.batch_size // training.accumulate
    last = build_context(spec, info).sizes.train % training.batch_size % micro or micro
    with pytest.raises(ValueError, match="more than 1 value per channel"):
        model(torch.randn(last, 1, 8, 8))
