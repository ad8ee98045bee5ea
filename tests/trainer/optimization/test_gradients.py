"""Clipping against numpy; noise of the stated variance, from a stream of its own."""

import math

import numpy
import pytest
import torch
from torch import nn

from tests.support.trainings import make_spec
from trainer.optimization.gradients import build_gradient_rule
from trainer.random_streams import generator


def make_model() -> nn.Module:
    model = nn.Sequential(nn.Linear(3, 2), nn.Linear(2, 2))
    for number, parameter in enumerate(model.parameters()):
        parameter.grad = torch.full_like(parameter, number - 1.0)
    return model


def gradients(model: nn.Module) -> numpy.ndarray:
    return torch.cat([one.grad.flatten() for one in model.parameters()]).numpy()


def adjust(model: nn.Module, step: int = 0, seed: int = 0, **regularizer: object) -> numpy.ndarray:
    spec = make_spec(regularization=[regularizer], seed=seed)
    build_gradient_rule(spec, model)(step)
    return gradients(model)


@pytest.mark.parametrize("limit", [1.0, 2.5])
def test_clipping_by_norm_scales_all_gradients_together(limit):
    before = gradients(make_model())
    after = adjust(make_model(), kind="gradient_clipping", value=limit)
    assert after == pytest.approx(before * limit / numpy.linalg.norm(before), rel=1e-5)


def test_gradients_within_the_norm_keep_their_bits():
    before = gradients(make_model())
    after = adjust(make_model(), kind="gradient_clipping", value=100.0)
    assert numpy.array_equal(before, after)


def test_clipping_by_value_cuts_each():
    before = gradients(make_model())
    after = adjust(make_model(), kind="gradient_clipping", by="value", value=0.5)
    assert after == pytest.approx(before.clip(-0.5, 0.5))


def make_units() -> nn.Module:
    """Of weights and gradients of different sizes; a bias, and weights of one output, begin at zero."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(2, 3, 3), nn.Flatten(), nn.Linear(12, 4), nn.Linear(4, 2))
    with torch.no_grad():
        model[0].bias.zero_()
        model[2].weight[1].zero_()
    for parameter in model.parameters():
        scale = torch.logspace(-4, 0, len(parameter)).view(-1, *[1] * (parameter.ndim - 1))
        parameter.grad = scale * torch.randn_like(parameter)
    return model.double()


def test_adaptive_clipping_limits_each_unit_to_a_share_of_its_weights_but_not_in_the_last_layer():
    model, value, eps = make_units(), 0.05, 1e-3
    before = {name: one.grad.double().numpy().copy() for name, one in model.named_parameters()}
    for parameter in model.parameters():
        parameter.grad = parameter.grad.double()
    adjust(model, kind="adaptive_gradient_clipping", value=value, eps=eps)
    clipped = 0
    for name, parameter in model.named_parameters():
        # A bias is one unit; of weights each output is one.
        rows = (1, -1) if parameter.ndim == 1 else (len(parameter), -1)
        gradient = before[name].reshape(rows)
        weights = parameter.detach().numpy().reshape(rows)
        if not name.startswith("3."):
            limits = value * numpy.maximum(numpy.linalg.norm(weights, axis=1), eps)
            factors = numpy.minimum(1, limits / numpy.linalg.norm(gradient, axis=1))
            clipped += int((factors < 1).sum())
            assert name != "2.weight" or 0 < (factors < 1).sum() < len(factors)
            gradient = gradient * factors[:, None]
        assert parameter.grad.numpy().reshape(rows) == pytest.approx(gradient, rel=1e-12)
    assert clipped > 4


def test_clipping_of_all_gradients_follows_that_of_units():
    both = [
        {"kind": "gradient_clipping", "value": 1e-3},
        {"kind": "adaptive_gradient_clipping", "value": 0.05},
    ]
    model = make_units()
    for parameter in model.parameters():
        parameter.grad = parameter.grad.double()
    build_gradient_rule(make_spec(regularization=both), model)(0)
    assert numpy.linalg.norm(gradients(model)) == pytest.approx(1e-3, rel=1e-4)
    alone = make_units()
    for parameter in alone.parameters():
        parameter.grad = parameter.grad.double()
    adjust(alone, **both[1])
    expected = gradients(alone) * 1e-3 / numpy.linalg.norm(gradients(alone))
    assert gradients(model) == pytest.approx(expected, rel=1e-4)


@pytest.mark.parametrize(("step", "gamma"), [(0, 0.55), (99, 0.55), (99, 0.0)])
def test_noise_has_the_stated_variance(step, gamma):
    model = nn.Linear(300, 300)
    for parameter in model.parameters():
        parameter.grad = torch.zeros_like(parameter)
    drawn = adjust(model, step, kind="gradient_noise", eta=0.3, gamma=gamma)
    variance = 0.3 / (1 + step) ** gamma
    # The sample variance of n draws deviates by 5 of its standard errors in 6 of ten million cases.
    assert drawn.var() == pytest.approx(variance, rel=5 * math.sqrt(2 / len(drawn)))
    assert abs(drawn.mean()) < 5 * math.sqrt(variance / len(drawn))


def test_noise_is_added_after_clipping_so_that_it_is_not_clipped():
    spec = {"kind": "gradient_clipping", "value": 1e-6}, {"kind": "gradient_noise", "eta": 0.3}
    both, alone = make_model(), make_model()
    for parameter in alone.parameters():
        parameter.grad.zero_()
    build_gradient_rule(make_spec(regularization=list(spec)), both)(2)
    noise = adjust(alone, 2, kind="gradient_noise", eta=0.3)
    assert gradients(both) == pytest.approx(noise, abs=2e-6)
    assert numpy.linalg.norm(noise) > 0.1


def test_noise_is_of_a_stream_of_its_own():
    drawn = adjust(nn_of_zeros(), 5, kind="gradient_noise", eta=1.0, gamma=0.0)
    own, other = (
        torch.randn(6, generator=generator(name, 0, 5)).numpy()
        for name in ("gradient_noise", "dropout")
    )
    assert drawn == pytest.approx(own)
    assert not numpy.allclose(drawn, other)


def nn_of_zeros() -> nn.Module:
    model = nn.Linear(3, 2, bias=False)
    model.weight.grad = torch.zeros_like(model.weight)
    return model


def test_gradients_that_are_not_finite_are_not_made_finite_by_clipping_their_norm():
    model = make_model()
    model[0].bias.grad[0] = math.inf
    assert numpy.isnan(adjust(model, kind="gradient_clipping")).any()


def test_noise_is_the_same_for_the_same_seed_and_step_alone():
    noise = {"kind": "gradient_noise"}
    first = adjust(make_model(), 3, 1, **noise)
    torch.rand(5)
    assert numpy.array_equal(first, adjust(make_model(), 3, 1, **noise))
    assert not numpy.array_equal(first, adjust(make_model(), 4, 1, **noise))
    assert not numpy.array_equal(first, adjust(make_model(), 3, 2, **noise))


def test_noise_leaves_the_global_generator_alone():
    model = make_model()
    before = torch.random.get_rng_state()
    adjust(model, kind="gradient_noise")
    assert torch.equal(torch.random.get_rng_state(), before)


def test_parameters_without_a_gradient_are_passed_over():
    model = make_model()
    model[0].bias.grad = None
    spec = make_spec(regularization=[{"kind": "gradient_clipping"}, {"kind": "gradient_noise"}])
    build_gradient_rule(spec, model)(0)
    assert model[0].bias.grad is None


def test_without_either_there_is_no_rule():
    assert build_gradient_rule(make_spec(), make_model()) is None
