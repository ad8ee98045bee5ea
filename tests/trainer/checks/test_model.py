"""Checks of the model alone: unknown, unfit for its images, no logits, idle evaluations."""

from dataclasses import replace

import pytest

from tests.support.spec_checks import (
    MLP,
    SMALL,
    VIT,
    assert_accepted,
    assert_no_warnings,
    assert_refused_by_this_check_alone,
    assert_warned_about_by_this_check_alone,
    data,
    dropout,
    name_case,
)
from tests.support.trainer_specs import DIGITS, make_info, make_spec
from trainer.checks.context import build_context
from trainer.checks.model import (
    check_model_exists,
    check_model_fits_data,
    check_output_shape,
    warn_idle_mc_dropout,
    warn_unavailable_outputs,
)

MC_DROPOUT = {"mode": "mc_dropout"}

#: The check, the spec, the dataset, the field, a layer (or None), words of the detail or the remedy.
BAD = [
    (check_model_exists, make_spec("torchvision:resnet19"), SMALL, "/model/name", None, "resnet18"),
    (
        check_model_exists,
        make_spec("timm:no_such_net"),
        SMALL,
        "/model/name",
        None,
        "timm has no model",
    ),
    (
        check_model_fits_data,
        make_spec("torchvision:vgg16_bn"),
        DIGITS,
        "/model/name",
        "features.33",
        "image_size: 32",
    ),
    (
        check_model_fits_data,
        make_spec("torchvision:vit_b_16", "layer"),
        DIGITS,
        "/model/name",
        None,
        "image_size: 16",
    ),
    (
        check_model_fits_data,
        make_spec("cnn"),
        make_info(shape=(1, 3, 3)),
        "/model/name",
        "pool2",
        "image_size: 8",
    ),
    (
        check_model_fits_data,
        make_spec("timm:resnet18", **dropout()),
        SMALL,
        "/regularization/0/where",
        None,
        "where: head",
    ),
    (
        check_model_fits_data,
        make_spec("torchvision:densenet121", **dropout()),
        SMALL,
        "/regularization/0/where",
        None,
        "where: head",
    ),
    *(
        (
            check_model_fits_data,
            make_spec(model, "layer", regularization=[{"kind": kind, "p": 0.1}]),
            DIGITS,
            "/regularization/0/kind",
            layer,
            words,
        )
        for kind, model, layer, words in (
            ("spatial_dropout", MLP, "dropout1", "maps"),
            ("spatial_dropout", VIT, "blocks.0.dropout", "maps"),
            ("drop_block", MLP, "dropout1", "maps"),
            ("stochastic_depth", "cnn", None, "residual"),
            ("stochastic_depth", MLP, None, "residual"),
        )
    ),
]

GOOD = [
    (make_spec("torchvision:resnet18"), SMALL),
    (make_spec("torchvision:vgg16_bn"), SMALL),
    (make_spec("torchvision:vit_b_16", "layer", **data(image_size=16)), DIGITS),
    (make_spec("cnn"), make_info(shape=(1, 4, 4))),
    (make_spec("timm:resnet18", **dropout("head")), SMALL),
    (make_spec("torchvision:mobilenet_v3_small", **dropout()), SMALL),
]

#: The check, the spec's options, the dataset, words of the warning.
WARNED = [
    (
        warn_idle_mc_dropout,
        {"evaluations": [{}, MC_DROPOUT]},
        DIGITS,
        "so mc_dropout_test would be",
    ),
    (
        warn_unavailable_outputs,
        {"evaluations": [{"outputs": ["grid"]}]},
        DIGITS,
        "test has no grid: it is of one or two features",
    ),
    (
        warn_unavailable_outputs,
        {"evaluations": [{"split": "val", "outputs": ["augmented"]}]},
        DIGITS,
        "final_val has no augmented: nothing is augmented",
    ),
    (
        warn_unavailable_outputs,
        {"evaluations": [{"outputs": ["responses"]}], "model": MLP},
        DIGITS,
        "test has no responses: no norm sees maps",
    ),
    (
        warn_unavailable_outputs,
        {"evaluations": [{"outputs": ["mc_curve"]}]},
        DIGITS,
        "test has no mc_curve: nothing is dropped",
    ),
    (
        warn_idle_mc_dropout,
        {"model": {"name": "torchvision:resnet18"}, "evaluations": [MC_DROPOUT]},
        SMALL,
        "the same as mode eval",
    ),
]

UNWARNED = [
    {**dropout("head"), "evaluations": [MC_DROPOUT]},
    {**dropout("head"), "evaluations": [{"outputs": ["mc_curve", "responses", "activations"]}]},
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


def test_a_model_that_gives_no_logits_is_refused():
    context = build_context(make_spec(), DIGITS)
    for shape in ((2, 11), (2, 10, 4)):
        strange = replace(context, survey=replace(context.survey, output_shape=shape))
        assert [problem.pointer for problem in check_output_shape(strange)] == ["/model/name"]
    assert list(check_output_shape(context)) == []
