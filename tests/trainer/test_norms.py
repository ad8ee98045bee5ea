"""Every norm against its formula in float64 NumPy, forward, running statistics and gradient."""

import numpy
import pytest
import torch
from pydantic import TypeAdapter
from trainer_specs import NORMS

from trainer.errors import SurgeryError
from trainer.norms import ChannelsLast, build_norm
from trainer.spec import NormSpec

CHANNELS = 8
SHAPES = {"vectors": (5, CHANNELS), "maps": (5, CHANNELS, 3, 4)}
CASES = [(n, s) for n in NORMS for s in SHAPES if (n, s) != ("instance", "vectors")]


def parse(document) -> NormSpec:
    return TypeAdapter(NormSpec).validate_python(document)


def reference(x, kind, eps, groups=4):
    """The definitions of science.md §2: which axes share a mean and a (biased) variance."""
    if kind == "none":
        return x
    if kind == "batch":
        axes = (0, *range(2, x.ndim))
        mean, variance = x.mean(axes, keepdims=True), x.var(axes, keepdims=True)
        return (x - mean) / numpy.sqrt(variance + eps)
    count = {"layer": 1, "instance": x.shape[1], "group": groups}[kind]
    grouped = x.reshape(len(x), count, -1)
    mean, variance = grouped.mean(2, keepdims=True), grouped.var(2, keepdims=True)
    return ((grouped - mean) / numpy.sqrt(variance + eps)).reshape(x.shape)


def affine(x, layer):
    weight = getattr(layer, "weight", None)
    if weight is None:
        return x
    shape = (1, -1, *[1] * (x.ndim - 2))
    gain, bias = (p.detach().numpy().reshape(shape) for p in (layer.weight, layer.bias))
    return x * gain + bias


def made(kind, shape):
    torch.manual_seed(0)
    layer = build_norm(parse(NORMS[kind]), CHANNELS, len(shape)).double()
    for parameter in layer.parameters():
        torch.nn.init.uniform_(parameter, 0.5, 2)
    return layer, 3 + 2 * torch.randn(shape, dtype=torch.float64)


@pytest.mark.parametrize(("kind", "name"), CASES)
def test_the_output_in_training_is_the_definition(kind, name):
    layer, x = made(kind, SHAPES[name])
    expected = affine(reference(x.numpy(), kind, 1e-5), layer)
    numpy.testing.assert_allclose(layer(x).detach().numpy(), expected, atol=1e-12)


@pytest.mark.parametrize(("kind", "name"), CASES)
def test_evaluation_differs_from_training_for_batch_norm_alone(kind, name):
    layer, x = made(kind, SHAPES[name])
    trained = layer(x)
    layer.eval()
    assert torch.equal(trained, layer(x)) == (kind != "batch")


@pytest.mark.parametrize("name", SHAPES)
def test_batch_norm_keeps_the_unbiased_variance_and_uses_it_in_evaluation(name):
    layer, x = made("batch", SHAPES[name])
    array = x.numpy()
    axes = (0, *range(2, array.ndim))
    layer(x)
    mean, variance = 0.1 * array.mean(axes), 0.9 + 0.1 * array.var(axes, ddof=1)
    numpy.testing.assert_allclose(layer.running_mean.numpy(), mean, atol=1e-12)
    numpy.testing.assert_allclose(layer.running_var.numpy(), variance, atol=1e-12)
    layer.eval()
    shape = (1, -1, *[1] * (array.ndim - 2))
    normalized = (array - mean.reshape(shape)) / numpy.sqrt(variance.reshape(shape) + 1e-5)
    numpy.testing.assert_allclose(layer(x).detach().numpy(), affine(normalized, layer), atol=1e-12)


@pytest.mark.parametrize(("kind", "name"), CASES)
def test_gradients_are_those_of_the_function(kind, name):
    layer, x = made(kind, SHAPES[name])
    assert torch.autograd.gradcheck(layer, (x.requires_grad_(),), fast_mode=True)


@pytest.mark.parametrize("kind", ["batch", "layer", "instance", "group"])
def test_options_reach_the_layer_and_every_channel_has_gain_and_bias(kind):
    layer = build_norm(parse({**NORMS[kind], "eps": 1e-3}), CHANNELS, 4)
    assert layer.eps == 1e-3
    assert layer.weight.shape == layer.bias.shape == (CHANNELS,)


def test_the_momentum_of_batch_norm_is_the_weight_of_the_new():
    assert build_norm(parse({"kind": "batch", "momentum": 0.3}), 4, 2).momentum == 0.3


def test_groups_may_be_given_by_their_size():
    layer = build_norm(parse({"kind": "group", "channels_per_group": 4}), CHANNELS, 4)
    assert layer.num_groups == 2


@pytest.mark.parametrize("document", [{"groups": 3}, {"channels_per_group": 3}, {"groups": 16}])
def test_groups_that_do_not_divide_are_refused_with_the_field(document):
    with pytest.raises(SurgeryError, match="must divide the layer's 8 channels") as error:
        build_norm(parse({"kind": "group", **document}), CHANNELS, 4)
    assert error.value.pointer == f"/norm/{next(iter(document))}"


def test_instance_norm_of_vectors_is_refused():
    with pytest.raises(SurgeryError, match="needs positions"):
        build_norm(parse(NORMS["instance"]), CHANNELS, 2)


@pytest.mark.parametrize("kind", ["batch", "layer", "instance", "group"])
def test_channels_last_is_the_same_norm_on_another_layout(kind):
    layer, x = made(kind, SHAPES["maps"])
    last = ChannelsLast(layer)(x.permute(0, 2, 3, 1))
    assert torch.allclose(last.permute(0, 3, 1, 2), layer(x), atol=1e-12)
