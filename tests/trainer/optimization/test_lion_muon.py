"""Lion and Muon against NumPy in float64, and which parameters Muon leaves to AdamW."""

from functools import partial

import numpy as np
import pytest
import torch
from torch import nn

from tests.support.catalogue import OPTIMIZERS
from tests.support.trainer_specs import DIGITS
from tests.support.trainer_specs import make_spec as make_job
from tests.support.trainings import make_spec, outcome, run
from trainer.models import build_model, import_from_timm
from trainer.optimization.optimizers import build_optimizer, set_learning_rate

DECAY = {"kind": "weight_decay", "value": 0.1}


def make_model() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(1, 4, 3),
        nn.Conv2d(4, 12, 2),
        nn.BatchNorm2d(12),
        nn.Flatten(),
        nn.Linear(48, 6),
        nn.Linear(6, 8),
        nn.Linear(8, 3),
    ).double()


def gradients_of(model: nn.Module, step: int) -> dict[str, np.ndarray]:
    """Fixed ones, set in the model."""
    source = torch.Generator().manual_seed(step)
    for parameter in model.parameters():
        parameter.grad = torch.randn(parameter.shape, generator=source, dtype=torch.float64)
    return {name: one.grad.numpy().copy() for name, one in model.named_parameters()}


def values_of(model: nn.Module) -> dict[str, np.ndarray]:
    return {name: one.detach().numpy().copy() for name, one in model.named_parameters()}


def decay_of(name: str) -> float:
    """Of weights alone: no norm, no bias."""
    return 0.1 if name.endswith("weight") and not name.startswith("2.") else 0.0


def take_steps(optimizer, count, regularization=()):
    model = make_model()
    made = build_optimizer(make_spec(optimizer=optimizer, regularization=regularization), model)
    before, gradients = values_of(model), []
    for step in range(count):
        set_learning_rate(made, optimizer["lr"] / (1 + step))
        gradients.append(gradients_of(model, step))
        made.step()
    return before, gradients, values_of(model)


@pytest.mark.parametrize("count", [1, 3])
def test_lion_moves_by_the_sign_of_its_average_and_decays_apart(count):
    lr, (beta1, beta2) = 0.003, (0.8, 0.9)
    before, gradients, after = take_steps(
        {"kind": "lion", "lr": lr, "betas": [beta1, beta2]}, count, [DECAY]
    )
    for name, value in before.items():
        average = np.zeros_like(value)
        for step in range(count):
            rate, gradient = lr / (1 + step), gradients[step][name]
            value = value * (1 - rate * decay_of(name))
            value = value - rate * np.sign(beta1 * average + (1 - beta1) * gradient)
            average = beta2 * average + (1 - beta2) * gradient
        assert np.abs(after[name] - value).max() < 1e-14


def orthogonalize(matrix: np.ndarray) -> np.ndarray:
    """Five Newton-Schulz iterations of a matrix of outputs by inputs."""
    a, b, c = 3.4445, -4.7750, 2.0315
    x = matrix if len(matrix) <= matrix.shape[1] else matrix.T
    x = x / np.linalg.norm(x)
    for _ in range(5):
        gram = x @ x.T
        x = a * x + (b * gram + c * gram @ gram) @ x
    return x if len(matrix) <= matrix.shape[1] else x.T


def expect_muon(value, gradients, lr, *, momentum, nesterov, scale, decay):
    average = np.zeros_like(value)
    for step, gradient in enumerate(gradients):
        rate = lr / (1 + step)
        average = momentum * average + (1 - momentum) * gradient
        update = momentum * average + (1 - momentum) * gradient if nesterov else average
        matrix = update.reshape(len(update), -1)
        outputs, inputs = matrix.shape
        factor = (
            max(1, outputs / inputs) ** 0.5
            if scale == "original"
            else 0.2 * max(outputs, inputs) ** 0.5
        )
        move = orthogonalize(matrix).reshape(value.shape)
        value = value * (1 - rate * decay) - rate * factor * move
    return value


def expect_adamw(value, gradients, lr, *, betas, decay):
    mean, square = np.zeros_like(value), np.zeros_like(value)
    for step, gradient in enumerate(gradients):
        rate = lr / (1 + step)
        mean = betas[0] * mean + (1 - betas[0]) * gradient
        square = betas[1] * square + (1 - betas[1]) * gradient**2
        corrected = mean / (1 - betas[0] ** (step + 1))
        root = np.sqrt(square / (1 - betas[1] ** (step + 1)))
        value = value * (1 - rate * decay) - rate * corrected / (root + 1e-8)
    return value


@pytest.fixture
def in_float64(monkeypatch):
    """Newton-Schulz in float64 instead of bfloat16: all of the rule but for rounding."""
    timm = import_from_timm("optim", "muon")
    iterate = partial(timm.zeropower_via_newtonschulz, dtype=torch.float64)
    monkeypatch.setattr(timm, "zeropower_via_newtonschulz", iterate)


@pytest.mark.parametrize("count", [1, 3])
@pytest.mark.parametrize("scale", ["original", "match_rms_adamw"])
@pytest.mark.parametrize("nesterov", [True, False])
@pytest.mark.usefixtures("in_float64")
def test_muon_moves_hidden_matrices_and_adamw_the_rest(count, scale, nesterov):
    lr, adamw_lr, betas = 0.02, 0.004, (0.8, 0.9)
    optimizer = {"kind": "muon", "lr": lr, "momentum": 0.7, "nesterov": nesterov, "scale": scale}
    before, gradients, after = take_steps(
        optimizer | {"adamw_lr": adamw_lr, "adamw_betas": betas}, count, [DECAY]
    )
    matrices = {"1.weight", "4.weight", "5.weight"}
    for name, value in before.items():
        own, decay = [one[name] for one in gradients], decay_of(name)
        if name in matrices:
            expected = expect_muon(
                value, own, lr, momentum=0.7, nesterov=nesterov, scale=scale, decay=decay
            )
        else:
            expected = expect_adamw(value, own, adamw_lr, betas=betas, decay=decay)
        assert np.abs(after[name] - expected).max() < 1e-12, name


def test_muon_in_bfloat16_follows_its_coefficients():
    before, (gradients,), after = take_steps({"kind": "muon", "lr": 0.02}, 1)
    for name in ("1.weight", "4.weight", "5.weight"):
        matrix = gradients[name].reshape(len(gradients[name]), -1)
        factor = max(1, matrix.shape[0] / matrix.shape[1]) ** 0.5
        moved = (before[name] - after[name]).reshape(matrix.shape) / (0.02 * factor)
        expected = orthogonalize(matrix)
        length = np.linalg.norm(expected)
        assert np.linalg.norm(moved - expected) < 0.04 * length
        # The polar factor itself, which timm's default coefficients come nearer to, is further off.
        left, _, right = np.linalg.svd(matrix, full_matrices=False)
        assert np.linalg.norm(moved - left @ right) > 0.06 * length
        # Singular values near one, whatever those of the gradient.
        assert 0.6 < np.linalg.svd(moved)[1].min() <= np.linalg.svd(moved)[1].max() < 1.3


def test_the_scale_of_a_gradient_changes_no_step():
    for kind in ("lion", "muon"):
        moved = []
        for factor in (1.0, 1024.0):
            model = make_model()
            made = build_optimizer(make_spec(optimizer={"kind": kind}), model)
            gradients_of(model, 0)
            for parameter in model.parameters():
                parameter.grad *= factor
            made.step()
            moved.append(values_of(model))
        assert all(np.abs(moved[0][name] - moved[1][name]).max() < 1e-9 for name in moved[0])


@pytest.mark.parametrize(
    ("model", "matrices"),
    [
        ("cnn", ["conv2.weight", "conv3.weight"]),
        ({"name": "mlp", "hidden": [8, 8]}, ["linear1.weight", "linear2.weight"]),
        (
            {"name": "vit_small", "patch": 4, "width": 8, "depth": 1, "heads": 2},
            ["attention.inputs.weight", "attention.output.weight", "linear1.weight", "linear2.weight"],
        ),
    ],
)  # fmt: skip
def test_muon_has_the_hidden_matrices_of_a_model(model, matrices):
    spec = make_job(model, "layer" if "vit" in str(model) else "batch", optimizer={"kind": "muon"})
    built = build_model(spec, DIGITS)
    names = {id(parameter): name for name, parameter in built.named_parameters()}
    groups = build_optimizer(spec, built).param_groups
    assert sum(len(group["params"]) for group in groups) == len(names)
    moved = [names[id(one)] for group in groups if "use_muon" in group for one in group["params"]]
    assert len(moved) == len(matrices)
    assert all(any(name.endswith(end) for name in moved) for end in matrices)


@pytest.mark.parametrize("name", ["lion", "muon"])
def test_the_same_seed_gives_the_same_events(name, tmp_path):
    spec = make_spec(optimizer=OPTIMIZERS[name])
    first, second = (run(spec, tmp_path / one / "attempt-1") for one in ("a", "b"))
    assert outcome(first) == outcome(second)
