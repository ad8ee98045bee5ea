"""Norms placed after the activation, and norms that replace it."""

import pytest
import torch
from torch import nn
from torch.nn import functional

from tests.support.toy_models import Toy, colour, replace_toy_norms
from tests.support.trainer_specs import DIGITS, make_spec
from trainer.errors import SurgeryError
from trainer.models.build import build_model
from trainer.surgery.build_norm import (
    ActivationThenNorm,
    bare_norm,
)

ACTIVATED = lambda t, x: t.act(t.norm(x))  # noqa: E731


def activated_toy(middle=ACTIVATED):
    toy = Toy(nn.BatchNorm2d(8), middle)
    toy.act = nn.ReLU()
    return toy


@pytest.mark.parametrize("kind", ["layer", "group", "batch", "lrn", "instance", "rms"])
def test_a_norm_placed_after_comes_behind_the_activation(kind):
    toy = activated_toy()
    norm = {"kind": kind, "placement": "after", **({"groups": 2} if kind == "group" else {})}
    report = replace_toy_norms(toy, norm)
    assert report.replaced == ("norm",)
    assert isinstance(toy.norm, nn.Identity)
    assert isinstance(toy.act, ActivationThenNorm)
    # Nothing else shifts what the activation sees.
    assert report.biases == ("conv",)
    x = torch.randn(4, 3, 8, 8)
    y = torch.relu(toy.conv(x))
    assert torch.allclose(toy.act(toy.norm(toy.conv(x))), toy.act.norm(y), atol=1e-6)


@pytest.mark.parametrize(
    "middle",
    [
        lambda t, x: t.norm(x),
        lambda t, x: functional.relu(t.norm(x)),
        lambda t, x: t.act(t.norm(x) + x),
        lambda t, x: t.act(t.other(t.act(t.norm(x)))),
        lambda t, x: t.act(n := t.norm(x)) + n,
    ],
    ids=["no activation", "functional", "after a sum", "shared", "used twice"],
)
def test_where_no_activation_of_its_own_follows_it_cannot_be_placed_after(middle):
    toy = activated_toy(middle)
    with pytest.raises(SurgeryError, match="not followed by an activation layer") as error:
        replace_toy_norms(toy, {"kind": "layer", "placement": "after"})
    assert (error.value.pointer, error.value.layer) == ("/norm/placement", "norm")
    assert isinstance(toy.norm, nn.BatchNorm2d)
    # What takes the activation's place leaves that of others, and says so.
    report = replace_toy_norms(toy, {"kind": "evonorm", "groups": 2})
    assert isinstance(toy.act, nn.ReLU)
    assert any("what the model does there stays" in note for note in report.notes)


@pytest.mark.parametrize(
    "norm",
    [
        {"kind": "evonorm", "groups": 2},
        {"kind": "evonorm", "form": "B0"},
        {"kind": "filter_response"},
    ],
)
def test_what_activates_as_well_takes_the_place_of_the_activation(norm):
    toy = activated_toy()
    report = replace_toy_norms(toy, norm)
    assert isinstance(toy.act, nn.Identity)
    assert not any("stays" in note for note in report.notes)
    assert type(bare_norm(toy.norm)).__name__.lower().startswith(norm["kind"].replace("_", ""))


def test_dropout_comes_behind_a_norm_that_is_placed_after():
    spec = make_spec(
        "cnn",
        {"kind": "layer", "placement": "after"},
        regularization=[{"kind": "dropout", "p": 0.3}],
    )
    names = list(dict(build_model(spec, DIGITS).named_children()))
    built = build_model(spec, DIGITS)
    assert names.index("dropout1") == names.index("activation1") + 1
    assert isinstance(built.activation1, ActivationThenNorm)


def test_norms_behind_convolutions_are_normed_before_or_after_the_activation():
    before, after = (
        build_model(
            make_spec("torchvision:alexnet", {"kind": "lrn", "placement": placement}), colour(64)
        )
        for placement in ("before", "after")
    )
    assert set(before.state_dict()) == set(after.state_dict())
    x = torch.rand(2, 3, 64, 64)
    maps = before.features[0].norm(
        functional.conv2d(x, before.features[0].weight, before.features[0].bias, 4, 2)
    )
    assert torch.allclose(before.features[0](x), maps)
    assert isinstance(after.features[1], ActivationThenNorm)
