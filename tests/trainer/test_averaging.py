"""Averaged weights against their recursions, their batch statistics against the whole split."""

import copy

import pytest
import torch
from torch import nn
from trainings import make_spec

from trainer.averaging import build_average

EMA = {"kind": "ema", "decay": 0.8}
SWA = {"kind": "swa", "start": 0.5}


def make_model() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(1, 4, 3),
        nn.BatchNorm2d(4),
        nn.ReLU(),
        nn.Dropout(0.5),
        nn.Flatten(),
        nn.Linear(16, 2),
    )


def make_average(regularizer, model, *, total_steps=8, period_steps=2):
    return build_average(make_spec(regularization=[regularizer]), model, total_steps, period_steps)


def move(model: nn.Module, step: int) -> None:
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.1 * step)


def test_ema_follows_its_recursion_from_the_first_weights_on():
    model = make_model()
    average = make_average(EMA, model)
    assert not average.is_active
    expected = None
    for step in range(1, 6):
        move(model, step)
        average.after_step(model)
        weight = model[0].weight.detach().double()
        expected = weight if expected is None else 0.8 * expected + 0.2 * weight
    assert average.is_active
    assert torch.allclose(average.model[0].weight.double(), expected, atol=1e-6)


def test_swa_is_the_mean_over_the_periods_from_its_start_on():
    model = make_model()
    average, kept, active = make_average(SWA, model), [], []
    for period in range(1, 5):
        move(model, period)
        average.after_step(model)
        average.after_period(model, period)
        active.append(average.is_active)
        if period > 2:
            kept.append(model[0].weight.detach().clone())
    assert active == [False, False, True, True]
    assert torch.allclose(average.model[0].weight, torch.stack(kept).mean(0), atol=1e-6)


def test_the_names_are_those_of_the_model_and_nothing_is_drawn():
    model = make_model()
    before = torch.random.get_rng_state()
    average = make_average(EMA, model)
    assert torch.equal(torch.random.get_rng_state(), before)
    assert average.model.state_dict().keys() == model.state_dict().keys()


def test_batch_statistics_are_those_of_the_whole_split_under_the_averaged_weights():
    model = make_model()
    average = make_average(EMA, model)
    average.after_step(model)
    split = torch.randn(40, 1, 4, 4) * 3 + 1
    batches = split.split(10)
    assert len(list(average.estimate_statistics(batches))) == 4
    norm = average.model[1]
    outputs = [average.model[0](batch) for batch in batches]
    means = torch.stack([one.mean((0, 2, 3)) for one in outputs]).mean(0)
    variances = torch.stack([one.var((0, 2, 3)) for one in outputs]).mean(0)
    assert torch.allclose(norm.running_mean, means, atol=1e-5)
    assert torch.allclose(norm.running_var, variances, atol=1e-5)
    assert norm.momentum == 0.1
    assert not any(module.training for module in average.model.modules())


def test_a_model_without_batch_statistics_takes_no_batch():
    model = nn.Sequential(nn.Linear(2, 2), nn.LayerNorm(2))
    average = make_average(EMA, model)
    assert list(average.estimate_statistics(iter([torch.ones(1, 2)]))) == []


@pytest.mark.parametrize("regularizer", [EMA, SWA], ids=lambda one: one["kind"])
def test_restored_in_the_middle_it_goes_on_bit_for_bit(regularizer):
    model = make_model()
    whole = make_average(regularizer, model)
    resumed = None
    for period in range(1, 5):
        move(model, period)
        whole.after_step(model)
        whole.after_period(model, period)
        if resumed is not None:
            resumed.after_step(model)
            resumed.after_period(model, period)
        if period == 3:
            state = copy.deepcopy(whole.state())
            resumed = make_average(regularizer, make_model())
            resumed.restore(state)
    for name, value in whole.model.state_dict().items():
        assert torch.equal(value, resumed.model.state_dict()[name])
    assert resumed.is_active == whole.is_active


def test_without_averaging_there_is_none():
    assert build_average(make_spec(), make_model(), 8, 2) is None
