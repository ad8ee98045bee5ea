"""What penalties come to, and where projections bring weights."""

import numpy
import pytest
import torch
from torch import nn

from tests.support.trainings import load_data, make_spec
from trainer.models.build import build_model
from trainer.models.parameters import split_parameters
from trainer.optimization.optimizers import build_optimizer
from trainer.optimization.penalties import build_penalties, build_projection

#: Without momentum a threshold is the learning rate times the value.
PLAIN = {"optimizer": {"kind": "sgd", "lr": 0.05, "momentum": 0.0}}


def make_model() -> nn.Module:
    """One row of weights, 3 and -4, and a bias and a norm that are none."""
    model = nn.Sequential(nn.Linear(2, 1), nn.LayerNorm(1))
    with torch.no_grad():
        model[0].weight.copy_(torch.tensor([[3.0, -4.0]]))
        model[0].bias.fill_(100.0)
    return model


def penalties(*regularization):
    built = build_penalties(make_spec(regularization=list(regularization)), make_model())
    return {name: term.item() for name, term in built().items()}


def test_penalties_are_sums_over_the_weights_alone_each_by_its_name():
    l1, l2 = {"kind": "l1", "value": 0.1}, {"kind": "l2", "value": 0.1}
    assert penalties(l1, l2) == {"l1": pytest.approx(0.7), "l2": pytest.approx(1.25)}


@pytest.mark.parametrize(("ratio", "expected"), [(1.0, 0.7), (0.0, 1.25), (0.2, 0.14 + 1.0)])
def test_an_elastic_net_is_its_two_parts(ratio, expected):
    found = penalties({"kind": "elastic_net", "value": 0.1, "l1_ratio": ratio})
    assert found == {"elastic_net": pytest.approx(expected)}


@pytest.mark.parametrize(
    "regularization",
    [
        [],
        [{"kind": "l2", "value": 0.0}],
        [{"kind": "l1", "value": 0.1, "proximal": True}],
        [{"kind": "weight_decay", "value": 0.1}],
    ],
    ids=str,
)
def test_without_a_penalty_there_is_nothing_to_add(regularization):
    assert build_penalties(make_spec(regularization=regularization), make_model()) is None


def test_gradients_of_penalties_are_those_of_their_formulas():
    model = make_model()
    spec = make_spec(regularization=[{"kind": "elastic_net", "value": 0.5, "l1_ratio": 0.25}])
    built = build_penalties(spec, model)
    built()["elastic_net"].backward()
    expected = 0.125 * numpy.array([[1.0, -1.0]]) + 0.375 * numpy.array([[3.0, -4.0]])
    assert model[0].weight.grad.numpy() == pytest.approx(expected)
    assert model[0].bias.grad is None


def test_the_soft_threshold_gives_exact_zeros_and_moves_the_rest_by_the_threshold():
    model = make_model()
    spec = make_spec(regularization=[{"kind": "l1", "value": 35.0, "proximal": True}], **PLAIN)
    build_projection(spec, model)(0.1)
    assert model[0].weight.tolist() == [[0.0, -0.5]]
    assert model[0].bias.item() == 100.0


def fit(proximal: bool, **sgd: float | bool) -> torch.Tensor:
    """A linear fit of which most features are noise."""
    torch.manual_seed(0)
    x = torch.randn(200, 20)
    y = x[:, :2].sum(1, keepdim=True)
    model = nn.Linear(20, 1, bias=False)
    spec = make_spec(
        regularization=[{"kind": "l1", "value": 0.1, "proximal": proximal}],
        optimizer={"kind": "sgd", "lr": 0.01, **sgd},
    )
    optimizer = build_optimizer(spec, model)
    terms, project = build_penalties(spec, model), build_projection(spec, model)
    for _ in range(600):
        cost = nn.functional.mse_loss(model(x), y)
        if terms is not None:
            cost = cost + terms()["l1"]
        optimizer.zero_grad()
        cost.backward()
        optimizer.step()
        if project is not None:
            project(0.01)
    return model.weight.detach()[0]


@pytest.mark.parametrize(
    "sgd",
    [{"momentum": 0.0}, {"momentum": 0.9}, {"momentum": 0.9, "nesterov": True}],
    ids=str,
)
def test_a_proximal_l1_zeroes_weights_where_the_subgradient_zeroes_none(sgd):
    subgradient, proximal = fit(proximal=False, **sgd), fit(proximal=True, **sgd)
    assert (subgradient == 0).sum() == 0
    assert (proximal == 0).sum() == 18
    # Both are near the same solution.
    assert torch.allclose(subgradient, proximal, atol=0.02)
    assert (proximal[:2] < 0.98).all()


@pytest.mark.parametrize("make", [lambda: nn.Linear(6, 5), lambda: nn.Conv2d(3, 5, 2)])
def test_max_norm_bounds_the_incoming_weights_of_every_unit(make):
    torch.manual_seed(0)
    layer = make()
    before = layer.weight.detach().clone()
    rows = before.flatten(1).norm(dim=1)
    # Between two rows: of one on the limit the last bit decides.
    limit = float(rows.sort().values[2:4].mean())
    build_projection(make_spec(regularization=[{"kind": "max_norm", "value": limit}]), layer)(0.1)
    after = layer.weight.detach()
    assert after.flatten(1).norm(dim=1).max() <= limit * (1 + 1e-6)
    inside = rows <= limit
    assert 0 < inside.sum() < 5
    assert torch.equal(after[inside], before[inside])
    directions = nn.functional.cosine_similarity(after.flatten(1), before.flatten(1))
    assert torch.allclose(directions, torch.ones(5))


@pytest.mark.parametrize("memory_format", [torch.contiguous_format, torch.channels_last])
def test_max_norm_is_exact_in_float64_in_either_memory_format(memory_format):
    torch.manual_seed(0)
    layer = nn.Conv2d(3, 5, 2).double().to(memory_format=memory_format)
    before = layer.weight.detach().numpy().copy()
    build_projection(make_spec(regularization=[{"kind": "max_norm", "value": 0.3}]), layer)(0.1)
    norms = numpy.sqrt((before**2).sum((1, 2, 3), keepdims=True))
    expected = before * numpy.minimum(1, 0.3 / norms)
    assert numpy.abs(layer.weight.detach().numpy() - expected).max() < 1e-15
    assert layer.weight.is_contiguous(memory_format=memory_format)


def test_weights_that_are_not_finite_are_not_made_finite():
    layer = nn.Linear(3, 2)
    with torch.no_grad():
        layer.weight[0, 0], layer.weight[1, 1] = float("nan"), float("inf")
    build_projection(make_spec(regularization=[{"kind": "max_norm"}]), layer)(0.1)
    assert not layer.weight.isfinite().all(1).any()


def test_the_threshold_comes_before_the_bound():
    model = make_model()
    regularization = [
        {"kind": "max_norm", "value": 1.0},
        {"kind": "l1", "value": 35.0, "proximal": True},
    ]
    build_projection(make_spec(regularization=regularization, **PLAIN), model)(0.05)
    thresholded = numpy.array([1.25, -2.25])
    expected = thresholded / numpy.linalg.norm(thresholded)
    assert model[0].weight.detach().numpy()[0] == pytest.approx(expected)


@pytest.mark.parametrize(
    "kind", ["standardization", "scaled_standardization", "weight_norm", "spectral"]
)
def test_of_computed_weights_the_underlying_ones_are_thresholded(kind):
    spec = make_spec(
        weights={"kind": kind},
        norm={"kind": "none"},
        regularization=[{"kind": "l1", "value": 1.0, "proximal": True}],
        **PLAIN,
    )
    torch.manual_seed(0)
    model = build_model(spec, load_data(spec).info)
    weights = split_parameters(model).weights
    kept = [one.detach().clone() for one in weights]
    build_projection(spec, model)(0.1)
    for weight, before in zip(weights, kept, strict=True):
        assert torch.equal(weight, nn.functional.softshrink(before, 0.1))
    assert any((weight == 0).any() for weight in weights)


def test_neither_penalties_nor_projections_draw():
    regularization = [
        {"kind": "l1", "value": 0.1, "proximal": True},
        {"kind": "l2", "value": 0.1},
        {"kind": "max_norm"},
    ]
    spec, model = make_spec(regularization=regularization), make_model()
    before = torch.random.get_rng_state()
    build_penalties(spec, model)()["l2"].backward()
    build_projection(spec, model)(0.1)
    assert torch.equal(torch.random.get_rng_state(), before)


def test_rows_of_zeros_stay_what_they_are():
    layer = nn.Linear(3, 2)
    nn.init.zeros_(layer.weight)
    build_projection(make_spec(regularization=[{"kind": "max_norm"}]), layer)(0.1)
    assert not layer.weight.any()
