"""What acts on weights: its formula, and that nothing else of a model changes by it."""

import copy

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn.utils.parametrize import is_parametrized

from tests.support.catalogue import WEIGHTS
from tests.support.trainer_specs import DIGITS, make_info, make_spec
from trainer.errors import ModelError
from trainer.models.build import build_model, build_with_report
from trainer.models.parameters import split_parameters
from trainer.surgery.remembered_shapes import on_meta
from trainer.surgery.weight_parametrization import apply_weights

ACTING = {name: entry for name, entry in WEIGHTS.items() if name != "plain"}
every_kind = pytest.mark.parametrize("weights", ACTING.values(), ids=ACTING)
MODELS = [{"name": "cnn", "width": 4}, {"name": "resnet20", "width": 4}]
CNN = MODELS[0]


def build(model, weights, norm="group", info=DIGITS, **rest):
    return build_model(make_spec(model, norm, weights=weights, **rest), info)


def acted_on(model):
    return [name for name, module in model.named_modules() if is_parametrized(module, "weight")]


def digits(samples=4):
    return torch.rand(samples, 1, 8, 8, generator=torch.Generator().manual_seed(0))


def original(layer):
    """The trained values that stand for the plain layer's weights."""
    held = layer.parametrizations.weight
    return held.original1 if hasattr(held, "original1") else held.original


@every_kind
@pytest.mark.parametrize("model", MODELS, ids=lambda model: model["name"])
def test_trained_weights_start_bit_equal_to_the_plain_ones(model, weights):
    plain, acting = build(model, {"kind": "plain"}), build(model, weights)
    for name, module in plain.named_modules():
        if isinstance(module, nn.Conv2d | nn.Linear):
            twin = acting.get_submodule(name)
            values = original(twin) if is_parametrized(twin, "weight") else twin.weight
            assert torch.equal(values, module.weight)
    shared = plain.state_dict().keys() & acting.state_dict().keys()
    assert len(shared) > 6
    assert all(torch.equal(plain.state_dict()[n], acting.state_dict()[n]) for n in shared)


@every_kind
def test_acting_on_weights_leaves_the_global_generator_alone(weights):
    before = torch.get_rng_state()
    build(CNN, weights)
    assert torch.equal(before, torch.get_rng_state())


def test_the_vectors_of_spectral_norm_belong_to_the_seed():
    def vectors(seed):
        model = build(CNN, {"kind": "spectral"}, seed=seed, init={"kind": "normal", "std": 0.1})
        return [value for name, value in model.state_dict().items() if name.endswith("_u")]

    first, again, other = vectors(0), vectors(0), vectors(1)
    assert len(first) == 4
    assert all(torch.equal(a, b) for a, b in zip(first, again, strict=True))
    assert not any(torch.equal(a, b) for a, b in zip(first, other, strict=True))


def test_standardized_weights_follow_the_formula_in_float64():
    model = build(CNN, {"kind": "standardization", "eps": 1e-3}).double()
    assert acted_on(model) == ["conv1", "conv2", "conv3"]
    for layer in (model.conv1, model.conv2, model.conv3):
        raw = original(layer).detach().numpy().reshape(len(layer.weight), -1)
        centred = raw - raw.mean(1, keepdims=True)
        expected = centred / np.sqrt((centred**2).mean(1, keepdims=True) + 1e-3)
        found = layer.weight.detach().numpy().reshape(expected.shape)
        assert np.abs(found - expected).max() < 1e-12


def test_standardized_weights_have_zero_mean_and_unit_variance_per_output():
    model = build(CNN, {"kind": "standardization", "eps": 1e-12}).double()
    for layer in (model.conv1, model.conv2, model.conv3):
        rows = layer.weight.flatten(1)
        assert rows.mean(1).abs().max() < 1e-12
        assert (rows.var(1, correction=0) - 1).abs().max() < 1e-9


def test_the_function_does_not_depend_on_scale_and_shift_of_what_is_standardized():
    layer = build(CNN, {"kind": "standardization", "eps": 1e-12}).double().conv2
    before = layer.weight.detach().clone()
    with torch.no_grad():
        original(layer).mul_(7).add_(3)
    assert torch.allclose(layer.weight, before, atol=1e-9)


def test_normalized_weights_are_g_v_over_the_norm_of_v():
    model = build(CNN, {"kind": "weight_norm"}).double()
    assert acted_on(model) == ["conv1", "conv2", "conv3", "classifier"]
    for name in acted_on(model):
        layer = model.get_submodule(name)
        held = layer.parametrizations.weight
        with torch.no_grad():
            held.original0.mul_(1.5).add_(0.25)
            held.original1.mul_(3.0)
        g, v = (one.detach().numpy() for one in (held.original0, held.original1))
        lengths = np.sqrt((v.reshape(len(v), -1) ** 2).sum(1))
        expected = g * v / lengths.reshape(g.shape)
        assert np.abs(layer.weight.detach().numpy() - expected).max() < 1e-12


def test_weight_norm_begins_as_the_plain_function():
    plain, acting = (build(CNN, {"kind": kind}) for kind in ("plain", "weight_norm"))
    assert torch.allclose(acting(digits()), plain(digits()), atol=1e-5, rtol=0)


def test_the_largest_singular_value_comes_to_one_in_training_alone():
    model = build(CNN, {"kind": "spectral", "power_iterations": 3}).double()
    names = acted_on(model)
    assert names == ["conv1", "conv2", "conv3", "classifier"]
    model.train()
    for _ in range(100):
        model(digits().double())
    for name in names:
        largest = torch.linalg.matrix_norm(model.get_submodule(name).weight.flatten(1), 2)
        assert largest.item() == pytest.approx(1.0, abs=1e-6)
    held = copy.deepcopy(model.state_dict())
    model.eval()(digits().double())
    assert all(torch.equal(held[name], value) for name, value in model.state_dict().items())
    model.train()(digits().double())
    moved = [n for n, value in model.state_dict().items() if not torch.equal(held[n], value)]
    assert all(name.endswith(("_u", "_v")) for name in moved)


@every_kind
@pytest.mark.parametrize("model", MODELS, ids=lambda model: model["name"])
def test_gradients_reach_every_parameter(model, weights):
    built = build(model, weights).double().train()
    built(digits(16).double()).square().sum().backward()
    assert all(one.grad.isfinite().all() and one.grad.any() for one in built.parameters())


@every_kind
def test_copies_states_float64_and_meta_work(weights):
    model = build(CNN, weights)
    x = digits()
    model.train()(x).sum().backward()
    twin, other = copy.deepcopy(model), build(CNN, weights, seed=1)
    other.load_state_dict(model.state_dict())
    outputs = [one.train()(x) for one in (model, twin, other)]
    assert torch.equal(outputs[0], outputs[1])
    assert torch.equal(outputs[0], outputs[2])
    states = [one.state_dict() for one in (model, twin, other)]
    assert all(torch.equal(states[0][n], one[n]) for one in states[1:] for n in states[0])
    assert model.double()(x.double()).dtype == torch.float64
    with on_meta():
        assert build(CNN, weights)(torch.empty(2, 1, 8, 8)).shape == (2, 10)


@every_kind
def test_a_model_with_acted_on_weights_can_be_exported(weights):
    model = build(CNN, weights).eval()
    sizes = ({0: torch.export.Dim("batch", min=2)},)
    with torch.no_grad():
        exported = torch.export.export(model, (digits(),), dynamic_shapes=sizes).module()
        assert torch.allclose(exported(digits(7)), model(digits(7)), atol=1e-5)


@every_kind
def test_drop_connect_drops_what_was_acted_on(weights):
    drop = [{"kind": "drop_connect", "p": 0.5}]
    plain, acting = build(CNN, weights), build(CNN, weights, regularization=drop)
    assert acting.state_dict().keys() == plain.state_dict().keys()
    assert torch.equal(acting.eval()(digits()), plain.eval()(digits()))
    acting.conv1.training = True
    point = torch.zeros(1, 1, 3, 3)
    point[..., 1, 1] = 1.0
    torch.manual_seed(0)
    # A single point shows each output the weight in the middle of its kernel.
    shown = (acting.conv1(point) / plain.conv1(point))[0, :, 1, 1]
    assert set(shown.round(decimals=4).tolist()) == {0.0, 2.0}


def test_the_parts_of_acted_on_parameters_are_those_of_the_plain_model():
    counts = {}
    for name, weights in WEIGHTS.items():
        parts = split_parameters(build(CNN, weights))
        counts[name] = (len(parts.weights), len(parts.biases), len(parts.norms))
    plain = counts["plain"]
    assert counts["standardization"] == counts["spectral"] == plain
    assert counts["scaled_standardization"] == (plain[0], plain[1], plain[2] + 3)
    assert counts["weight_norm"] == (plain[0], plain[1], plain[2] + 4)


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("torchvision:vit_b_16", "weight_norm"),
        ("torchvision:swin_t", "spectral"),
        ("timm:convnext_atto", "standardization"),
        ("timm:levit_128s", "weight_norm"),
    ],
)
def test_library_models_run_with_acted_on_weights(name, kind):
    info = make_info(shape=(3, 224, 224), mean=(0.5,) * 3, std=(0.25,) * 3)
    norm = "batch" if "levit" in name else "layer"
    with on_meta():
        model = build(name, ACTING[kind], norm, info)
        model.train()(torch.empty(2, 3, 224, 224)).sum().backward()
    assert acted_on(model)


def test_what_cannot_be_acted_on_in_an_attention_is_told():
    info = make_info(shape=(3, 32, 32), mean=(0.5,) * 3, std=(0.25,) * 3)
    spec = make_spec("torchvision:vit_b_16", "layer", weights={"kind": "weight_norm"})
    with on_meta():
        _, report = build_with_report(spec, info)
    assert any(
        "input projections" in n and "encoder_layer_0.self_attention" in n for n in report.notes
    )


def test_layers_that_would_break_stay_plain_and_are_named():
    class Odd(nn.Module):
        def __init__(self):
            super().__init__()
            self.good = nn.Conv2d(2, 3, 3)
            self.zero = nn.Conv2d(2, 3, 3)
            nn.init.zeros_(self.zero.weight)
            self.single = nn.Conv2d(3, 3, 1, groups=3)
            self.one, self.two = nn.Linear(3, 3), nn.Linear(3, 3)
            self.two.weight = self.one.weight
            self.up = nn.ConvTranspose2d(3, 3, 2)

    spared = {
        "standardization": ["zero", "single", "up"],
        "scaled_standardization": ["zero", "single", "up"],
        "weight_norm": ["zero", "one", "two", "up"],
        "spectral": ["zero", "one", "two", "up"],
    }
    for name, weights in ACTING.items():
        model = Odd()
        notes = apply_weights(model, make_spec("cnn", weights=weights))
        assert not set(spared[name]) & set(acted_on(model))
        assert "good" in acted_on(model)
        assert all(any(layer in note for note in notes) for layer in spared[name])


def test_a_convolution_that_standardizes_itself_is_left_alone():
    from timm.layers import StdConv2d

    model = nn.Sequential(StdConv2d(2, 3, 3), nn.Conv2d(3, 3, 3))
    for weights in ACTING.values():
        twin = copy.deepcopy(model)
        if "standardization" in weights["kind"]:
            with pytest.raises(ModelError, match="standardize their weights themselves"):
                apply_weights(twin, make_spec("cnn", weights=weights))
            continue
        notes = apply_weights(twin, make_spec("cnn", weights=weights))
        assert acted_on(twin) == ["1"]
        assert "standardizes its weights itself" in notes[0]


@pytest.mark.parametrize("model", ["mlp", {"name": "mlp", "hidden": [4]}])
def test_standardization_is_refused_without_a_convolution(model):
    with pytest.raises(ModelError, match="no convolution") as error:
        build(model, {"kind": "standardization"})
    assert error.value.pointer == "/weights/kind"
    assert "plain" in error.value.remedy


def test_a_model_whose_only_layers_would_break_is_refused_with_the_layer():
    model = nn.Sequential(nn.Conv2d(3, 3, 1, groups=3))
    with pytest.raises(ModelError, match="one weight per output") as error:
        apply_weights(model, make_spec("cnn", weights={"kind": "standardization"}))
    assert error.value.layer == "0"
