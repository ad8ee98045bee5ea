"""Our own models against their definitions: in numpy, in torch's own layers, by what a pixel reaches."""

import numpy
import pytest
import torch
from torch import nn

from tests.support.trainer_specs import DIGITS, make_info, make_spec
from trainer.errors import ModelError
from trainer.models.build import build_model, count_parameters
from trainer.models.vit import Block
from trainer.spec.builtin import BUILT_IN

RECONSTRUCTION = {"task": {"kind": "reconstruction"}}
POINTS = BUILT_IN["polynomial_noise"]

#: By their formulas, in float64.
ACTIVATIONS = {
    "relu": lambda x: numpy.maximum(x, 0),
    "sigmoid": lambda x: 1 / (1 + numpy.exp(-x)),
    "tanh": numpy.tanh,
    "gelu": lambda x: x * numpy.vectorize(normal)(x),
}


def normal(x: float) -> float:
    """The distribution function of N(0, 1)."""
    from math import erf, sqrt

    return (1 + erf(x / sqrt(2))) / 2


def images(samples: int = 6) -> torch.Tensor:
    source = torch.Generator().manual_seed(0)
    return torch.randn(samples, 1, 8, 8, generator=source, dtype=torch.float64)


def apply(layer: nn.Linear, x: numpy.ndarray) -> numpy.ndarray:
    return x @ layer.weight.detach().numpy().T + layer.bias.detach().numpy()


@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_an_mlp_is_linear_layers_with_its_activation_between_them(activation):
    document = {"name": "mlp", "hidden": [7, 5], "activation": activation}
    model = build_model(make_spec(document, "none"), DIGITS).double()
    act, x = ACTIVATIONS[activation], images()
    hidden = x.flatten(1).numpy()
    for layer in (model.linear1, model.linear2):
        hidden = act(apply(layer, hidden))
    assert numpy.abs(apply(model.classifier, hidden) - model(x).detach().numpy()).max() < 1e-12


@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_an_autoencoder_gives_images_through_one_hidden_layer(activation):
    document = {"name": "autoencoder", "hidden": 9, "activation": activation}
    model = build_model(make_spec(document, "none", **RECONSTRUCTION), DIGITS).double()
    x = images()
    hidden = ACTIVATIONS[activation](apply(model.encoder, x.flatten(1).numpy()))
    expected = apply(model.decoder, hidden).reshape(6, 1, 8, 8)
    assert hidden.shape == (6, 9)
    assert numpy.abs(expected - model(x).detach().numpy()).max() < 1e-12


def test_the_hidden_units_of_an_autoencoder_are_256_rectified_ones_as_in_the_paper():
    model = build_model(make_spec("autoencoder", "none", **RECONSTRUCTION), DIGITS)
    assert type(model.activation1) is nn.ReLU
    assert count_parameters(model) == 64 * 256 + 256 + 256 * 64 + 64


def test_dropout_in_an_autoencoder_is_on_its_hidden_units_alone():
    dropout = {"regularization": [{"kind": "dropout", "p": 0.5}]}
    model = build_model(make_spec("autoencoder", "none", **RECONSTRUCTION, **dropout), DIGITS)
    assert [n for n, m in model.named_modules() if isinstance(m, nn.Dropout)] == ["dropout1"]
    seen = []
    model.decoder.register_forward_pre_hook(lambda module, args: seen.append(args[0]))
    model.activation1.register_forward_hook(lambda module, args, output: output.fill_(1.0))
    model(images(50).float())
    # Binomial(12800, 1/2) lies within five standard deviations but for six of ten million cases.
    assert set(seen[0].unique().tolist()) == {0.0, 2.0}
    assert abs(float((seen[0] == 0).float().mean()) - 0.5) < 5 * 0.5 / 12800**0.5


@pytest.mark.parametrize("degree", [1, 4, 15])
def test_a_polynomial_is_that_of_its_weights(degree):
    task = {"task": {"kind": "regression"}}
    model = build_model(
        make_spec({"name": "polynomial", "degree": degree}, "none", **task), POINTS
    ).double()
    x = torch.linspace(-1.5, 1.5, 30, dtype=torch.float64)
    weights = [*model.linear.weight.detach()[0].tolist()[::-1], model.linear.bias.item()]
    expected = numpy.polyval(weights, x.numpy())
    assert len(weights) == degree + 1
    assert model(x[:, None, None, None]).detach().numpy()[:, 0] == pytest.approx(expected)


def test_a_polynomial_of_several_features_is_refused():
    spec = make_spec("polynomial", "none", task={"kind": "regression"})
    with pytest.raises(ModelError, match="one feature but the examples have 2"):
        build_model(spec, BUILT_IN["moons"])


def test_alexnet_small_normalizes_behind_its_first_two_activations_as_the_paper_does():
    lrn = {"kind": "lrn", "alpha": 0.1}
    model = build_model(make_spec({"name": "alexnet_small", "width": 4}, lrn), DIGITS)
    kinds = [type(layer).__name__ for layer in model if "Site" not in type(layer).__name__]
    normed = ["Conv2d", "ReLU", "LocalResponseNorm", "MaxPool2d"]
    convolutions = [*normed, *normed, *["Conv2d", "ReLU"] * 3, "MaxPool2d"]
    assert kinds == [*convolutions, "Flatten", *["Linear", "ReLU"] * 2, "Linear"]
    pools = [layer for layer in model if isinstance(layer, nn.MaxPool2d)]
    # They overlap.
    assert all(one.kernel_size > one.stride for one in pools)
    assert [model.get_submodule(f"conv{n}").out_channels for n in range(1, 6)] == [4, 8, 12, 12, 8]
    assert model(images().float()).shape == (6, 10)


@pytest.mark.parametrize("activation", ["sigmoid", "tanh", "gelu", "relu"])
@pytest.mark.parametrize("name", ["alexnet_small", "inception_small"])
def test_every_activation_of_the_small_classics_is_the_one_of_the_spec(name, activation):
    document = {"name": name, "width": 4, "activation": activation}
    model = build_model(make_spec(document), DIGITS)
    found = [type(m).__name__.lower() for n, m in model.named_modules() if "activation" in n]
    assert set(found) == {activation}
    assert len(found) == {"alexnet_small": 7, "inception_small": 1 + 2 * 7}[name]


def test_the_branches_of_an_inception_module_see_one_three_five_and_three_pixels():
    model = build_model(make_spec({"name": "inception_small", "width": 4}), DIGITS).eval()
    module = model.inception1
    for layer in module.modules():
        if isinstance(layer, nn.Conv2d):
            nn.init.ones_(layer.weight)
    pixel = torch.zeros(1, 4, 9, 9)
    pixel[:, :, 4, 4] = 1
    reached = module(pixel)[0] > 0
    sides = [one.any(0).sum().item() for one in reached]
    assert sides == [1] * 4 + [3] * 4 + [5] * 4 + [3] * 4
    assert all(one.sum() == side**2 for one, side in zip(reached, sides, strict=True))
    assert model.inception2(torch.zeros(1, 16, 4, 4)).shape == (1, 32, 4, 4)


@pytest.mark.parametrize("heads", [1, 4])
def test_a_block_of_the_vision_transformer_is_the_encoder_layer_of_torch(heads):
    torch.manual_seed(0)
    block = Block(16, heads).double()
    theirs = nn.TransformerEncoderLayer(
        16, heads, 64, dropout=0.0, activation="gelu", batch_first=True, norm_first=True
    ).double()
    pairs = {
        "self_attn.in_proj_": block.attention.inputs,
        "self_attn.out_proj.": block.attention.output,
        **{f"{name}.": block.get_submodule(name) for name in ("linear1", "linear2")},
        **{f"{name}.": block.get_submodule(name) for name in ("norm1", "norm2")},
    }
    theirs.load_state_dict(
        {f"{name}{key}": one for name, m in pairs.items() for key, one in m.state_dict().items()}
    )
    x = torch.randn(3, 7, 16, dtype=torch.float64)
    assert torch.allclose(block(x), theirs(x), rtol=0, atol=1e-12)


def test_the_vision_transformer_is_patches_positions_blocks_and_the_mean_of_its_tokens():
    document = {"name": "vit_small", "patch": 4, "width": 8, "depth": 3, "heads": 2}
    model = build_model(make_spec(document, "layer"), DIGITS).double()
    x = images()
    patches = x.unfold(2, 4, 4).unfold(3, 4, 4).reshape(6, 4, 16)
    weight, bias = model.patches.weight.flatten(1), model.patches.bias
    tokens = patches @ weight.T + bias + model.position
    assert len(model.blocks) == 3
    for block in model.blocks:
        tokens = block(tokens)
    expected = model.classifier(model.norm(tokens).mean(1))
    assert torch.allclose(model(x), expected, rtol=0, atol=1e-12)
    assert model.position.detach().std().item() == pytest.approx(0.02, rel=0.4)


def test_patches_that_do_not_cover_the_image_are_refused():
    spec = make_spec({"name": "vit_small", "patch": 3}, "layer")
    with pytest.raises(ModelError, match="patch must divide the 8×8 pixels") as error:
        build_model(spec, make_info())
    assert error.value.pointer == "/model/patch"
