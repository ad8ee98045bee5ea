"""What penalties come to, and where projections bring weights."""

import numpy
import pytest
import torch
from torch import nn
from trainings import make_spec

from trainer.regularizers import build_penalties, build_projection


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
    spec = make_spec(regularization=[{"kind": "l1", "value": 35.0, "proximal": True}])
    build_projection(spec, model)(0.1)
    assert model[0].weight.tolist() == [[0.0, -0.5]]
    assert model[0].bias.item() == 100.0


def fit(proximal: bool) -> torch.Tensor:
    """A linear fit of which most features are noise."""
    torch.manual_seed(0)
    x = torch.randn(200, 20)
    y = x[:, :2].sum(1, keepdim=True)
    model = nn.Linear(20, 1, bias=False)
    spec = make_spec(regularization=[{"kind": "l1", "value": 0.1, "proximal": proximal}])
    optimizer = torch.optim.SGD(model.parameters(), lr=0.05)
    terms, project = build_penalties(spec, model), build_projection(spec, model)
    for _ in range(300):
        cost = nn.functional.mse_loss(model(x), y)
        if terms is not None:
            cost = cost + terms()["l1"]
        optimizer.zero_grad()
        cost.backward()
        optimizer.step()
        if project is not None:
            project(0.05)
    return model.weight.detach()[0]


def test_a_proximal_l1_zeroes_weights_where_the_subgradient_zeroes_none():
    subgradient, proximal = fit(proximal=False), fit(proximal=True)
    assert (subgradient == 0).sum() == 0
    assert (proximal == 0).sum() == 18
    # Both are near the same solution.
    assert torch.allclose(subgradient, proximal, atol=0.02)


@pytest.mark.parametrize("layer", [nn.Linear(6, 5), nn.Conv2d(3, 5, 2)], ids=["linear", "conv"])
def test_max_norm_bounds_the_incoming_weights_of_every_unit(layer):
    before = layer.weight.detach().clone()
    rows = before.flatten(1).norm(dim=1)
    limit = float(rows.median())
    build_projection(make_spec(regularization=[{"kind": "max_norm", "value": limit}]), layer)(0.1)
    after = layer.weight.detach()
    assert after.flatten(1).norm(dim=1).max() <= limit * (1 + 1e-6)
    inside = rows <= limit
    assert 0 < inside.sum() < 5
    assert torch.equal(after[inside], before[inside])
    directions = nn.functional.cosine_similarity(after.flatten(1), before.flatten(1))
    assert torch.allclose(directions, torch.ones(5))


def test_rows_of_zeros_stay_what_they_are():
    layer = nn.Linear(3, 2)
    nn.init.zeros_(layer.weight)
    build_projection(make_spec(regularization=[{"kind": "max_norm"}]), layer)(0.1)
    assert not layer.weight.any()
