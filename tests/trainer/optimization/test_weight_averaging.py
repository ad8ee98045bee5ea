"""Averaged weights against their recursions, their batch statistics against the whole split."""

import copy

import numpy
import pytest
import torch
from torch import nn

from tests.support.trainings import last_of, load_data, make_spec, outcome, run, run_until
from trainer.events import Progressed, Stepped
from trainer.models.build import build_model
from trainer.optimization.weight_averaging import build_average
from trainer.surgery.build_norm import build_norm

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


@pytest.mark.parametrize("regularizer", [EMA, SWA | {"start": 0.0}], ids=lambda one: one["kind"])
def test_in_float64_nothing_passes_through_float32(regularizer):
    model = nn.Linear(5, 3).double()
    average, seen = make_average(regularizer, model), []
    for period in range(1, 8):
        move(model, period)
        average.after_step(model)
        average.after_period(model, period)
        seen.append(model.weight.detach().numpy().copy())
    expected = seen[0]
    for weight in seen[1:]:
        expected = 0.8 * expected + 0.2 * weight
    expected = numpy.mean(seen, axis=0) if regularizer["kind"] == "swa" else expected
    assert numpy.abs(average.model.weight.detach().numpy() - expected).max() < 1e-14


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


def test_a_period_that_was_taken_in_before_a_stop_is_not_taken_in_again():
    model = make_model()
    average = make_average(SWA, model)
    for period in (3, 4):
        move(model, period)
        average.after_period(model, period)
        kept = average.model[0].weight.detach().clone()
        average.after_period(model, period)
        assert torch.equal(average.model[0].weight, kept)


def test_buffers_are_those_of_the_trained_model():
    model = make_model()
    average = make_average(EMA, model)
    for _ in range(3):
        model(torch.randn(6, 1, 4, 4))
        average.after_step(model)
    assert model[1].num_batches_tracked == 3
    for kept, current in zip(average.model.buffers(), model.buffers(), strict=True):
        assert torch.equal(kept, current)


@pytest.mark.parametrize(
    "kind", ["standardization", "scaled_standardization", "weight_norm", "spectral"]
)
def test_of_computed_weights_what_they_are_computed_from_is_averaged(kind):
    spec = make_spec(weights={"kind": kind}, norm={"kind": "none"}, regularization=[EMA])
    model = build_model(spec, load_data(spec).info)
    average = build_average(spec, model, 8, 2)
    trained = dict(model.named_parameters())
    expected = None
    for step in range(1, 4):
        move(model, step)
        model(torch.rand(4, 1, 8, 8))
        average.after_step(model)
        now = {name: one.detach().clone() for name, one in trained.items()}
        expected = expected or now
        expected = {name: 0.8 * expected[name] + 0.2 * now[name] for name in now}
    averaged = dict(average.model.named_parameters())
    assert averaged.keys() == expected.keys()
    assert any("parametrizations" in name for name in averaged)
    for name, parameter in averaged.items():
        assert torch.allclose(parameter, expected[name], atol=1e-6)
    for kept, current in zip(average.model.buffers(), model.buffers(), strict=True):
        assert torch.equal(kept, current)
    assert average.model.eval()(torch.rand(4, 1, 8, 8)).isfinite().all()


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


STATISTICS = {
    "batch": {"kind": "batch"},
    "ghost_batch": {"kind": "ghost_batch", "virtual_batch_size": 5},
    "batch_renorm": {"kind": "batch_renorm", "plain_steps": 0, "ramp_steps": 0},
    "evonorm": {"kind": "evonorm", "form": "B0"},
}
every_norm = pytest.mark.parametrize("norm", STATISTICS)


def make_normed(norm: str) -> nn.Module:
    """Two layers with statistics, one behind the other, far from what they were initialized for."""
    torch.manual_seed(0)
    built = [build_norm(make_spec(norm=STATISTICS[norm]).norm, 3, "N,C,H,W") for _ in range(2)]
    first, second = nn.Conv2d(2, 3, 1), nn.Conv2d(3, 3, 1)
    return nn.Sequential(first, built[0], second, built[1]).double()


def estimate(model: nn.Module, batches) -> nn.Module:
    average = make_average(EMA, model)
    average.after_step(model)
    list(average.estimate_statistics(batches))
    return average.model


@every_norm
def test_statistics_of_every_norm_are_those_of_the_split_each_example_counting_alike(norm):
    torch.manual_seed(0)
    split = torch.randn(25, 2, 4, 4, dtype=torch.float64) * 20 + 30
    # The last batch is another: it must count for a fifth.
    split[20:] += 50
    batches = split.split(20)
    estimated = estimate(make_normed(norm), batches)
    with torch.no_grad():
        parts = [
            estimated[0](one) for one in (split.split(5) if norm == "ghost_batch" else batches)
        ]
    shares = [len(one) / len(split) for one in parts]
    means = sum(s * one.mean((0, 2, 3)) for s, one in zip(shares, parts, strict=True))
    variances = sum(s * one.var((0, 2, 3)) for s, one in zip(shares, parts, strict=True))
    layer = estimated[1]
    if norm == "batch_renorm":
        biased = [one.var((0, 2, 3), correction=0) for one in parts]
        deviations = [(one + layer.eps).sqrt() for one in biased]
        expected = sum(s * one for s, one in zip(shares, deviations, strict=True))
        torch.testing.assert_close(layer.running_std, expected, rtol=1e-12, atol=0)
    else:
        torch.testing.assert_close(layer.running_var, variances, rtol=1e-12, atol=0)
    if norm != "evonorm":
        torch.testing.assert_close(layer.running_mean, means, rtol=1e-12, atol=0)


def test_batch_renorm_is_given_what_batch_norm_is_while_statistics_are_estimated():
    torch.manual_seed(0)
    batches = (torch.randn(40, 2, 4, 4, dtype=torch.float64) * 20 + 30).split(10)
    renormed, normed = (estimate(make_normed(norm), batches) for norm in ("batch_renorm", "batch"))
    torch.testing.assert_close(renormed[3].running_mean, normed[3].running_mean)
    assert (renormed[3].running_std / normed[3].running_var.sqrt() - 1).abs().max() < 0.01
    assert (renormed[1].r_max, renormed[1].d_max) == (3.0, 5.0)


@every_norm
def test_a_single_last_example_counts_like_any_other(norm):
    torch.manual_seed(0)
    layer = build_norm(make_spec(norm=STATISTICS[norm]).norm, 3, "N,C,H,W").double()
    split = torch.randn(9, 3, 1, 1, dtype=torch.float64)
    estimated = estimate(nn.Sequential(layer), split.split(4))[0]
    assert estimated.running_var.isfinite().all()
    if norm in ("batch", "batch_renorm"):
        torch.testing.assert_close(
            estimated.running_mean, split.mean((0, 2, 3)), rtol=1e-12, atol=1e-15
        )


def test_an_estimation_that_is_abandoned_leaves_the_layers_as_they_were():
    model = make_normed("batch_renorm")
    average = make_average(EMA, model)
    average.after_step(model)
    estimation = average.estimate_statistics(torch.randn(8, 2, 4, 4, dtype=torch.float64).split(4))
    next(estimation)
    estimation.close()
    for layer in (average.model[1], average.model[3]):
        assert (layer.momentum, layer.r_max, layer.d_max) == (model[1].momentum, 3.0, 5.0)
        assert not layer.training


def test_a_model_without_batch_statistics_takes_no_batch():
    model = nn.Sequential(nn.Linear(2, 2), nn.LayerNorm(2))
    average = make_average(EMA, model)
    assert list(average.estimate_statistics(iter([torch.ones(1, 2)]))) == []


@pytest.mark.parametrize("regularizer", [EMA, SWA], ids=lambda one: one["kind"])
def test_restored_in_the_middle_it_goes_on_bit_for_bit(regularizer):
    model = make_model()
    whole = make_average(regularizer, model, total_steps=12)
    resumed = None
    for period in range(1, 8):
        move(model, period)
        whole.after_step(model)
        whole.after_period(model, period)
        if resumed is not None:
            resumed.after_step(model)
            resumed.after_period(model, period)
        if period == 5:
            state = copy.deepcopy(whole.state())
            resumed = make_average(regularizer, make_model(), total_steps=12)
            resumed.restore(state)
    for name, value in whole.model.state_dict().items():
        assert torch.equal(value, resumed.model.state_dict()[name])
    assert resumed.is_active == whole.is_active


JOBS = {
    "ema": {"regularization": [EMA]},
    "swa": {"regularization": [SWA | {"start": 0.0}]},
    "swa-ghost": {
        "regularization": [SWA | {"start": 0.3}],
        "norm": STATISTICS["ghost_batch"] | {"virtual_batch_size": 16},
    },
    "ema-renorm": {"regularization": [EMA], "norm": STATISTICS["batch_renorm"]},
    "ema-spectral": {"regularization": [EMA], "weights": {"kind": "spectral"}},
    "ema-ramp": {
        "regularization": [EMA, {"kind": "drop_block", "p": 0.2, "block_size": 2, "ramp": True}]
    },
}


# Every period gives the same events: run_until stops at the first that is equal.
@pytest.mark.parametrize(
    ("job", "moment"),
    [
        ("ema", Progressed("batch statistics")),
        ("swa", Progressed("val")),
        ("swa-ghost", Progressed("batch statistics")),
        ("ema-renorm", Progressed("batch statistics")),
        ("ema-spectral", Stepped(6)),
        ("ema-ramp", Progressed("val")),
    ],
    ids=str,
)
def test_stopping_while_statistics_are_estimated_or_validated_changes_nothing(
    job, moment, tmp_path
):
    spec = make_spec(**JOBS[job])
    whole = run(spec, tmp_path / "whole" / "attempt-1")
    before, after = run_until(moment, spec, tmp_path / "attempt-1")
    resumed = run(spec, tmp_path / "attempt-2", [last_of(after)])
    assert resumed[0].first_step > 0
    assert outcome([*before, *resumed[1:]]) == outcome(whole)


def test_without_averaging_there_is_none():
    assert build_average(make_spec(), make_model(), 8, 2) is None
