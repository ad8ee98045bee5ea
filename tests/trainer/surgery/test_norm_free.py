"""Training without a norm: scaled weight standardization, and residual branches that begin at zero."""

import math
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional

from runtime.documents import read_document
from tests.support.catalogue import CATALOGUE
from tests.support.trainer_specs import DIGITS, make_info, make_spec
from tests.support.trainings import epochs, run
from trainer.checks.run import check
from trainer.errors import ModelError
from trainer.models.build import build_model
from trainer.models.parameters import split_parameters
from trainer.optimization.gradients import build_gradient_rule
from trainer.spec.job import JobSpec
from trainer.surgery.weight_parametrization import apply_weights

COLOUR = make_info(shape=(3, 32, 32), mean=(0.5,) * 3, std=(0.25,) * 3)
SCALED = {"kind": "scaled_standardization"}
ACTIVATIONS = {
    "relu": functional.relu,
    "gelu": functional.gelu,
    "sigmoid": torch.sigmoid,
    "tanh": torch.tanh,
}


def build(model: Any = "cnn", norm: Any = "none", weights: Any = SCALED, **rest: Any) -> nn.Module:
    return build_model(make_spec(model, norm, weights=weights, **rest), DIGITS)


def deviation(activation) -> float:
    """Of an activation of a standard normal number, by the trapezoidal rule."""
    x = torch.linspace(-12, 12, 400_001, dtype=torch.float64)
    density = torch.exp(-x.square() / 2) / math.sqrt(2 * math.pi)
    mean, square = (torch.trapezoid(activation(x) ** p * density, x).item() for p in (1, 2))
    return math.sqrt(square - mean**2)


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_weights_follow_the_formula_with_the_gain_of_the_models_activation(name):
    model = build({"name": "cnn", "width": 4, "activation": name}).double()
    gamma = 1 / deviation(ACTIVATIONS[name])
    for layer in (model.conv1, model.conv2, model.conv3):
        held = layer.parametrizations.weight
        with torch.no_grad():
            held[0].gain.add_(torch.arange(len(held[0].gain)) / 8)
        raw = held.original.detach().numpy().reshape(len(layer.weight), -1)
        centred = raw - raw.mean(1, keepdims=True)
        scale = gamma / np.sqrt(raw.shape[1] * ((centred**2).mean(1, keepdims=True) + 1e-6))
        expected = held[0].gain.detach().numpy()[:, None] * scale * centred
        found = layer.weight.detach().numpy().reshape(expected.shape)
        # timm's gains, which these are, were drawn: they are right to three digits.
        assert found == pytest.approx(expected, rel=5e-3)
        exact = held[0].scale * math.sqrt(raw.shape[1])
        assert found == pytest.approx(expected * exact / gamma, rel=1e-9)


def test_weights_are_those_of_timms_layer():
    from timm.layers import ScaledStdConv2d

    peer = ScaledStdConv2d(3, 5, 3, padding=1, gamma=1.7, bias=False, eps=1e-5).double()
    layer = nn.Sequential(nn.Conv2d(3, 5, 3, padding=1, bias=False)).double()
    spec = make_spec("cnn", "none", weights={**SCALED, "gamma": 1.7, "eps": 1e-5})
    layer[0].weight.data.copy_(peer.weight)
    apply_weights(layer, spec)
    with torch.no_grad():
        gain = torch.rand(5, dtype=torch.float64)
        peer.gain.copy_(gain.view(-1, 1, 1, 1))
        layer[0].parametrizations.weight[0].gain.copy_(gain)
    x = torch.randn(2, 3, 6, 6, dtype=torch.float64)
    assert torch.allclose(layer(x), peer(x), rtol=0, atol=1e-12)


def deep(weights: dict[str, Any]) -> nn.Module:
    """Twelve convolutions without a norm; around an image, so that no edge takes variance away."""
    torch.manual_seed(0)
    layers: list[nn.Module] = []
    for _ in range(12):
        layers += [nn.Conv2d(64, 64, 3, padding=1, padding_mode="circular", bias=False), nn.ReLU()]
    model = nn.Sequential(*layers)
    apply_weights(model, make_spec("cnn", "none", weights=weights))
    return model


def test_activations_keep_their_variance_through_many_layers():
    x = torch.randn(8, 64, 8, 8, generator=torch.Generator().manual_seed(1))
    variances = {}
    for kind in ("plain", "standardization", "scaled_standardization"):
        with torch.no_grad():
            # Before the last activation. The first layer follows none.
            variances[kind] = deep({"kind": kind})[:-1](x).var().item() / 1.714**2
    assert 0.3 < variances["scaled_standardization"] < 3
    assert variances["plain"] < 1e-6
    assert variances["standardization"] > 1e6


def test_the_gains_are_no_weights():
    parts = split_parameters(build({"name": "cnn", "width": 4}))
    assert len(parts.norms) == 3
    assert {one.shape for one in parts.norms} == {(4,), (8,), (16,)}


def test_a_librarys_model_needs_the_gain_of_its_activation():
    info = COLOUR
    spec = make_spec("torchvision:resnet18", "none", weights=SCALED)
    (problem,) = check(spec, info).problems
    assert problem.pointer == "/weights/gamma"
    assert "gamma: 1.714" in problem.remedy
    with pytest.raises(ModelError, match="is not known"):
        build_model(spec, info)
    stated = make_spec("torchvision:resnet18", "none", weights={**SCALED, "gamma": 1.7})
    assert check(stated, info).problems == ()


@pytest.mark.parametrize(
    ("model", "own"),
    [
        ("timm:test_nfnet", "scaled_standardization"),
        ("timm:resnetv2_50x1_bit", "standardization"),
    ],
)
@pytest.mark.parametrize("weights", [SCALED, {**SCALED, "gamma": 1.7}, {"kind": "standardization"}])
def test_a_model_that_standardizes_its_weights_is_not_given_it_twice(model, own, weights):
    spec = make_spec(model, "none", weights=weights)
    (problem,) = check(spec, COLOUR).problems
    assert (problem.pointer, problem.layer) in {
        ("/weights/kind", "stem.conv1"),
        ("/weights/kind", "stem.conv"),
    }
    assert f"standardize their weights themselves, by {own} (" in problem.detail
    assert "kind: plain" in problem.remedy


def nf_spec(**rest: Any) -> JobSpec:
    clipping = [{"kind": "adaptive_gradient_clipping"}]
    return make_spec("timm:test_nfnet", "none", **{"regularization": clipping, **rest})


def test_a_norm_free_network_of_timm_is_trained_as_it_is():
    report = check(
        nf_spec(training={"epochs": 20, "batch_size": 32}, optimizer={"kind": "sgd", "lr": 0.1}),
        COLOUR,
    )
    assert report.problems == report.warnings == ()
    assert report.layers == ()


def test_the_example_of_the_documents_is_sound():
    page = Path(__file__).parents[3] / "docs" / "models.md"
    (example,) = re.findall(r"```yaml\n(.*?)```", page.read_text(), flags=re.DOTALL)
    spec = JobSpec.model_validate(read_document(example))
    classes = (
        "airplane",
        "automobile",
        "bird",
        "cat",
        "deer",
        "dog",
        "frog",
        "horse",
        "ship",
        "truck",
    )
    sizes = {"train_size": 50_000, "test_size": 10_000, "class_counts": (5_000,) * 10}
    info = COLOUR.model_copy(update={"name": "cifar10", "classes": classes, **sizes})
    report = check(spec, info)
    assert report.problems == report.warnings == ()


def test_clipped_gains_of_its_branches_stay_near_zero_in_a_short_training_as_is_said_before():
    spec = nf_spec(
        training={"epochs": 1, "batch_size": 128}, dataset={"name": "digits", "image_size": 32}
    )
    (warning,) = check(spec, DIGITS).warnings
    assert "stages.0.0.conv3.gain, stages.1.0.conv3.gain" in warning
    reach = float(re.search(r"comes to (\S+) at most in 9 steps", warning)[1])
    model = build_model(spec, DIGITS)
    gains = {n: p for n, p in model.named_parameters() if n.endswith("conv3.gain")}
    optimizer = torch.optim.SGD(model.parameters(), lr=0.05, momentum=0.9)
    adjust = build_gradient_rule(spec, model)
    for step in range(9):
        # Always down the same slope, and steeply: nothing gets there faster.
        for parameter in model.parameters():
            parameter.grad = torch.full_like(parameter, -1e3)
        adjust(step)
        optimizer.step()
    largest = max(
        float(one.detach().max()) for name, one in gains.items() if not name.startswith("stem")
    )
    assert 0.3 * reach < largest < 1.1 * reach


def test_a_block_begins_as_its_shortcut_and_its_number_is_trained():
    model = build({"name": "resnet20", "width": 4, "skip_init": True}).train()
    x = torch.rand(4, 4, 8, 8)
    block = model.stage1_block1
    assert torch.equal(block(x), x)
    model(torch.rand(4, 1, 8, 8)).square().sum().backward()
    gains = [one for name, one in model.named_parameters() if name.endswith("skip_gain")]
    assert len(gains) == 9
    assert all(one.shape == () and one.grad != 0 for one in gains)


def test_without_skip_init_documents_and_parameters_are_as_before():
    plain = make_spec("resnet20", "batch")
    assert "skip_init" not in plain.model_dump(mode="json")["model"]
    names = set(build("resnet20", "batch", {"kind": "plain"}).state_dict())
    assert not any("skip" in name for name in names)
    skipping = {"name": "resnet20", "skip_init": True}
    assert names < set(build(skipping, "batch", {"kind": "plain"}).state_dict())


def test_a_residual_network_without_a_norm_learns(tmp_path):
    job = CATALOGUE["models/resnet20-norm_free"]
    changes = {
        "training": {"epochs": 12, "batch_size": 16},
        "optimizer": {"kind": "sgd", "lr": 0.1},
    }
    spec = JobSpec.model_validate({**job, **changes})
    first, *_, last = epochs(run(spec, tmp_path / "attempt-1"))
    assert last.metrics["train_loss"] < 0.75 * first.metrics["train_loss"]
