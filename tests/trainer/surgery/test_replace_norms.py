"""Replacing the norms of a small model: gains, axes and fused activations stay right."""

import numpy
import pytest
import torch
from torch import nn
from torch.nn import functional

from tests.support.toy_models import Toy, replace_toy_norms
from tests.support.trainer_specs import NORMS, make_spec
from trainer.errors import SurgeryError
from trainer.surgery.build_norm import (
    takes_activation,
)
from trainer.surgery.survey import survey_norms


def test_a_norm_used_in_two_places_is_replaced_once():
    toy = Toy(nn.BatchNorm2d(8), lambda t, x: t.again(t.norm(x)))
    toy.again = toy.norm
    replace_toy_norms(toy, "group")
    assert isinstance(toy.norm, nn.GroupNorm)
    assert toy.again is toy.norm


def test_a_model_without_norms_gets_one_behind_each_convolution():
    torch.manual_seed(0)
    toy = Toy(nn.ReLU(), lambda t, x: t.other(t.norm(x)))
    weight = toy.conv.weight
    assert replace_toy_norms(toy).replaced == ()
    report = replace_toy_norms(toy, "batch")
    assert report.replaced == ("conv", "other")
    assert report.notes == ("the model has no norms: put behind its convolutions conv, other",)
    assert toy.conv.weight is weight
    assert isinstance(toy.conv.norm, nn.BatchNorm2d)
    x = torch.randn(4, 3, 8, 8)
    normalized = functional.batch_norm(functional.conv2d(x, weight), None, None, training=True)
    assert torch.allclose(toy.conv(x), normalized, atol=1e-6)


def test_a_model_that_looks_into_its_norm_is_refused():
    toy = Toy(nn.BatchNorm2d(8), lambda t, x: t.norm(x) + t.norm.running_mean.sum())
    replace_toy_norms(toy, "batch")
    with pytest.raises(SurgeryError, match="does not run with group norm"):
        replace_toy_norms(toy, "group")
    assert isinstance(toy.norm, nn.BatchNorm2d)


def normalized(toy, x):
    with torch.no_grad():
        return toy.norm(x).double().numpy()


def as_maps(toy, x):
    return toy.norm(x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)


def as_tokens(toy, x):
    return toy.norm(x.flatten(2).transpose(1, 2)).transpose(1, 2).unflatten(2, (6, 6))


@pytest.mark.parametrize(
    ("norm", "middle", "shape", "axes"),
    [
        ("batch", as_maps, (4, 6, 6, 8), (0, 1, 2)),
        ("layer", as_maps, (4, 6, 6, 8), (1, 2, 3)),
        ("instance", as_maps, (4, 6, 6, 8), (1, 2)),
        ("batch", as_tokens, (4, 36, 8), (0, 1)),
        ("layer", as_tokens, (4, 36, 8), (2,)),
    ],
)
def test_layers_with_channels_last_get_the_norm_over_the_right_axes(norm, middle, shape, axes):
    x = torch.randn(shape)
    toy = Toy(nn.LayerNorm(8), middle)
    report = replace_toy_norms(toy, norm)
    array = x.double().numpy()
    mean, std = array.mean(axes, keepdims=True), array.std(axes, keepdims=True)
    numpy.testing.assert_allclose(normalized(toy, x), (array - mean) / std, atol=1e-3)
    assert any("token" in note for note in report.notes) == (middle is as_tokens)


def test_layers_that_norm_and_activate_in_one_keep_their_activation():
    from timm.layers import BatchNormAct2d, FrozenBatchNormAct2d, GroupNormAct, LayerNormAct2d

    x = torch.randn(4, 8, 6, 6)
    for make in (BatchNormAct2d, FrozenBatchNormAct2d, GroupNormAct, LayerNormAct2d):
        for norm in NORMS:
            layer = make(8, 4) if make is GroupNormAct else make(8)
            toy = Toy(layer)
            replace_toy_norms(toy, norm)
            taken = takes_activation(make_spec("cnn", norm).norm)
            assert isinstance(toy.norm.act, nn.Identity if taken else nn.ReLU)
            plain = toy.norm.act(toy.norm.norm(x.clone()))
            assert torch.allclose(toy.norm(x.clone()), plain, atol=1e-6)


def test_frozen_batch_norm_becomes_trainable_with_its_values():
    from torchvision.ops import FrozenBatchNorm2d

    frozen = FrozenBatchNorm2d(8)
    frozen.weight.fill_(0.5)
    toy = Toy(frozen)
    replace_toy_norms(toy, "group")
    assert torch.equal(toy.norm.weight, torch.full((8,), 0.5))
    assert toy.norm.weight.requires_grad


def test_surgery_draws_no_random_numbers_and_leaves_statistics_alone():
    toy = Toy(nn.BatchNorm2d(8))
    torch.manual_seed(1)
    survey_norms(toy, (3, 8, 8))
    assert int(toy.norm.num_batches_tracked) == 0
    assert toy.training
    replace_toy_norms(toy, "batch")
    drawn = torch.rand(1)
    torch.manual_seed(1)
    assert torch.equal(drawn, torch.rand(1))
