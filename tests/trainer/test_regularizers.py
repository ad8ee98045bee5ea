"""Which parameters are weights, and what penalties come to."""

import pytest
import torch
from torch import nn
from trainings import make_spec

from trainer.regularizers import build_penalty, split_parameters


@pytest.mark.parametrize(
    "norm",
    [
        nn.BatchNorm2d(4),
        nn.InstanceNorm2d(4, affine=True),
        nn.GroupNorm(2, 4),
        nn.LayerNorm([4, 6, 6]),
        nn.RMSNorm([4, 6, 6]),
    ],
    ids=lambda norm: type(norm).__name__,
)
def test_no_parameter_of_a_norm_is_a_weight(norm):
    model = nn.Sequential(nn.Conv2d(1, 4, 3), norm)
    weights, rest = split_parameters(model)
    assert [one is model[0].weight for one in weights] == [True]
    assert len(rest) == 1 + len(list(norm.parameters()))


def test_norms_of_timm_that_inherit_from_no_norm_are_found():
    from timm.layers import FilterResponseNormTlu2d, RmsNorm2d

    model = nn.Sequential(RmsNorm2d(4), FilterResponseNormTlu2d(4))
    assert split_parameters(model)[0] == []


def test_a_bias_table_is_no_weight_and_tied_weights_count_once():
    class Tied(nn.Module):
        def __init__(self):
            super().__init__()
            self.relative_position_bias_table = nn.Parameter(torch.zeros(9, 2))
            self.one = nn.Linear(3, 3, bias=False)
            self.two = self.one

    weights, rest = split_parameters(Tied())
    assert len(weights) == 1
    assert len(rest) == 1


def test_penalties_are_sums_over_the_weights_alone():
    model = nn.Sequential(nn.Linear(2, 1), nn.LayerNorm(1))
    with torch.no_grad():
        model[0].weight.copy_(torch.tensor([[3.0, -4.0]]))
        model[0].bias.fill_(100.0)
    penalties = {
        kind: build_penalty(make_spec(regularization=[{"kind": kind, "value": 0.1}]), model)
        for kind in ("l1", "l2")
    }
    assert penalties["l1"]().item() == pytest.approx(0.7)
    assert penalties["l2"]().item() == pytest.approx(1.25)
    both = [{"kind": "l1", "value": 0.1}, {"kind": "l2", "value": 0.1}]
    assert build_penalty(make_spec(regularization=both), model)().item() == pytest.approx(1.95)


def test_without_a_penalty_there_is_nothing_to_add():
    assert build_penalty(make_spec(), nn.Linear(2, 1)) is None
