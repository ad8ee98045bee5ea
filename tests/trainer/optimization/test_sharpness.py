"""Sharpness-aware minimization against NumPy and against a loop written out; what its second pass leaves alone."""

from typing import Any

import numpy as np
import pytest
import torch
from torch import nn
from torch.func import functional_call
from torch.nn import functional

from tests.support.trainer_specs import DIGITS
from tests.support.trainings import epochs, last_of, load_data, make_spec, run
from trainer.checks.run import check
from trainer.models.build import build_model
from trainer.optimization.sharpness import build_ascent
from trainer.random_streams import seed_globals
from trainer.training.batch_order import BatchSampler

RHO, LR, MOMENTUM = 0.2, 0.05, 0.9
SAM = {"kind": "sam", "rho": RHO}
MLP = {"model": {"name": "mlp", "hidden": [12], "activation": "tanh"}, "norm": {"kind": "none"}}


def softmax_gradient(x: np.ndarray, y: np.ndarray, w: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Of the mean cross entropy of a linear model, by weights and biases in one row per class."""
    scores = x @ w.T + b
    shares = np.exp(scores - scores.max(1, keepdims=True))
    shares /= shares.sum(1, keepdims=True)
    errors = (shares - np.eye(len(b))[y]) / len(x)
    return np.concatenate([errors.T @ x, errors.sum(0)[:, None]], 1)


def test_the_gradient_is_that_at_a_distance_of_rho_along_the_gradient():
    torch.manual_seed(0)
    x, y = torch.randn(20, 5, dtype=torch.float64), torch.randint(3, (20,))
    layer = nn.Linear(5, 3).double()
    before = [one.detach().clone() for one in layer.parameters()]
    ascent = build_ascent(make_spec(regularization=[SAM]), layer)
    functional.cross_entropy(layer(x), y).backward()
    with ascent.ascended():
        assert all(one.grad is None for one in layer.parameters())
        moved = [one.detach().clone() for one in layer.parameters()]
        functional.cross_entropy(layer(x), y).backward()
    w, b = (one.numpy() for one in before)
    first = softmax_gradient(x.numpy(), y.numpy(), w, b)
    step = RHO * first / np.sqrt((first**2).sum())
    assert np.abs(moved[0].numpy() - (w + step[:, :-1])).max() < 1e-12
    expected = softmax_gradient(x.numpy(), y.numpy(), w + step[:, :-1], b + step[:, -1])
    assert np.abs(layer.weight.grad.numpy() - expected[:, :-1]).max() < 1e-12
    assert np.abs(layer.bias.grad.numpy() - expected[:, -1]).max() < 1e-12
    assert np.abs(expected - first).max() > 1e-3
    assert all(map(torch.equal, layer.parameters(), before))


def test_a_gradient_of_zero_moves_nothing():
    layer = nn.Linear(2, 2)
    for parameter in layer.parameters():
        parameter.grad = torch.zeros_like(parameter)
    before = [one.detach().clone() for one in layer.parameters()]
    with build_ascent(make_spec(regularization=[SAM]), layer).ascended():
        assert all(map(torch.equal, layer.parameters(), before))


def write_out(spec: Any, decay: float) -> dict[str, torch.Tensor]:
    """The weights after a training with momentum, an l2 penalty of the weights themselves and SAM."""
    data = load_data(spec)
    model = build_model(spec, data.info).train()
    order = BatchSampler(spec.training, len(data.train), spec.seed, torch.device("cpu"))
    weights = {name: one.detach().clone() for name, one in model.named_parameters()}
    velocities = {name: torch.zeros_like(one) for name, one in weights.items()}
    for step in range(order.plan().total_steps):
        rows = order.indices(step)
        images, labels = data.train.images[rows].float() / 255, data.train.labels[rows]
        images = (images - data.info.mean[0]) / data.info.std[0]

        def gradient_at(place, step=step, images=images, labels=labels):
            leaves = {name: one.clone().requires_grad_() for name, one in place.items()}
            seed_globals("dropout", spec.seed, step)
            loss = functional.cross_entropy(functional_call(model, leaves, (images,)), labels)
            return dict(zip(leaves, torch.autograd.grad(loss, list(leaves.values())), strict=True))

        first = gradient_at(weights)
        length = torch.cat([one.flatten() for one in first.values()]).norm()
        place = {name: one + RHO * first[name] / length for name, one in weights.items()}
        for name, gradient in gradient_at(place).items():
            penalty = decay * weights[name] if weights[name].ndim == 2 else 0.0
            velocities[name] = MOMENTUM * velocities[name] + gradient + penalty
            weights[name] = weights[name] - LR * velocities[name]
    return weights


def last_weights(events: list[Any]) -> dict[str, torch.Tensor]:
    weights: dict[str, torch.Tensor] = torch.load(last_of(events).path, weights_only=True)["state"][
        "model"
    ]
    return weights  # fmt: skip


@pytest.mark.parametrize("dropout", [0.0, 0.3])
def test_a_training_is_the_loop_that_is_written_out(dropout, tmp_path):
    """Also with dropout, whose masks are the same in both passes."""
    others = [{"kind": "l2", "value": 0.1}, {"kind": "dropout", "p": dropout}]
    job = {**MLP, "optimizer": {"kind": "sgd", "lr": LR, "momentum": MOMENTUM}}
    spec = make_spec(**job, regularization=[SAM, *others])
    trained = last_weights(run(spec, tmp_path / "sam" / "attempt-1"))
    plain = last_weights(
        run(make_spec(**job, regularization=others), tmp_path / "plain" / "attempt-1")
    )
    expected = write_out(spec, 0.1)
    assert trained.keys() == expected.keys()
    assert max((trained[name] - one).abs().max() for name, one in expected.items()) < 1e-6
    assert max((trained[name] - one).abs().max() for name, one in plain.items()) > 1e-3


ONE_STEP = {"epochs": 1, "batch_size": 200}


@pytest.mark.parametrize(
    "options",
    [
        {"norm": {"kind": "batch"}},
        {"norm": {"kind": "ghost_batch", "virtual_batch_size": 50}},
        {"norm": {"kind": "batch_renorm"}},
        {"norm": {"kind": "none"}, "weights": {"kind": "spectral"}},
    ],
    ids=lambda options: options.get("weights", options["norm"])["kind"],
)
def test_running_statistics_and_metrics_are_those_of_the_first_pass(options, tmp_path):
    """After one step they are those of a plain training, whose weights were the same."""
    results = {}
    for name, regularization in (("sam", [SAM]), ("plain", [])):
        spec = make_spec(training=ONE_STEP, regularization=regularization, **options)
        results[name] = run(spec, tmp_path / name / "attempt-1")
    (sam,), (plain,) = (epochs(one) for one in results.values())
    assert sam.metrics["train_loss"] == plain.metrics["train_loss"]
    weights, others = (last_weights(one) for one in results.values())
    model = build_model(spec, load_data(spec).info)
    buffers = {name for name, _ in model.named_buffers()} & weights.keys()
    assert len(buffers) >= 6
    assert all(torch.equal(weights[name], others[name]) for name in buffers)
    assert not torch.equal(weights["classifier.bias"], others["classifier.bias"])


def test_accumulated_micro_batches_move_along_the_gradient_of_the_whole_batch(tmp_path):
    finals = []
    for accumulate in (1, 4):
        spec = make_spec(
            norm={"kind": "group", "groups": 2},
            training={"epochs": 1, "batch_size": 64, "accumulate": accumulate},
            regularization=[SAM],
        )
        weights = last_weights(run(spec, tmp_path / str(accumulate) / "attempt-1"))
        finals.append(torch.cat([one.flatten() for one in weights.values()]))
    assert not torch.equal(*finals)
    assert torch.allclose(*finals, rtol=0, atol=2e-6)


@pytest.mark.parametrize("precision", ["float32", "bf16"])
def test_a_training_learns(precision, tmp_path):
    training = {"epochs": 8, "batch_size": 32, "precision": precision}
    spec = make_spec(training=training, regularization=[{"kind": "sam"}])
    first, *_, last = epochs(run(spec, tmp_path / "attempt-1"))
    assert last.metrics["train_loss"] < 0.6 * first.metrics["train_loss"]


def test_a_plan_says_that_a_step_takes_two_passes():
    spec = make_spec(regularization=[SAM])
    assert any("two forward and backward passes" in note for note in check(spec, DIGITS).notes)
    assert not any("passes" in note for note in check(make_spec(), DIGITS).notes)
