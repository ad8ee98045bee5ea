"""How pairing is measured: what two arms share under a global seed, and the ratio of variances."""

from collections.abc import Mapping

import numpy
import pytest
import torch

from bench.pairing.global_seed import one_global_seed
from bench.pairing.trainings import METRICS, NORMS, SETTINGS, Score
from bench.pairing.variances import Ratio, find_ratios
from trainer.models import build_model
from trainer.spec import BUILT_IN
from trainer.training.batch_order import BatchSampler


def begin(norm: str, *, draws_biases: bool | None) -> tuple[Mapping[str, torch.Tensor], list[int]]:
    """Initial weights of convolutions and the first batch, by streams (None) or by one global seed."""
    spec = SETTINGS["digits"].spec_of(norm, 3)

    def draw() -> tuple[Mapping[str, torch.Tensor], list[int]]:
        state = build_model(spec, BUILT_IN["digits"]).state_dict()
        sampler = BatchSampler(spec.training, 1000, spec.seed, torch.device("cpu"))
        weights = {name: one for name, one in state.items() if one.ndim == 4}
        return weights, sampler.indices(0).tolist()

    if draws_biases is None:
        return draw()
    with one_global_seed(spec.seed, draws_biases=draws_biases):
        return draw()


def test_with_streams_all_arms_begin_alike() -> None:
    (weights, order), (others, theirs) = (
        begin(one, draws_biases=None) for one in ("none", "group")
    )
    assert order == theirs
    assert all(torch.equal(weights[name], others[name]) for name in weights)


def test_with_a_global_seed_the_arm_that_draws_more_is_another_one_from_there_on() -> None:
    weights, order = begin("none", draws_biases=True)
    others, theirs = begin("group", draws_biases=False)
    first, *rest = weights
    # The bias of the first convolution is drawn after its weight.
    assert torch.equal(weights[first], others[first])
    assert not any(torch.equal(weights[name], others[name]) for name in rest)
    assert order != theirs


def test_with_a_global_seed_arms_that_draw_alike_begin_alike_and_the_patch_ends() -> None:
    one, other = (begin(norm, draws_biases=False) for norm in ("batch", "group"))
    assert one[1] == other[1]
    assert all(torch.equal(one[0][name], other[0][name]) for name in one[0])
    # By streams again: other weights than those of the global seed.
    after, _ = begin("group", draws_biases=None)
    assert not any(torch.equal(after[name], other[0][name]) for name in after)


def ratio_of(correlation: float) -> Ratio:
    """Of two arms with deviations 1 and 2 over 4,000 seeds."""
    chance = numpy.random.default_rng(1)
    shared, own = chance.standard_normal((2, 4000))
    values = {
        "none": shared,
        "group": 2 * (correlation * shared + (1 - correlation**2) ** 0.5 * own),
    }
    scores = [
        Score(
            "digits",
            scheme,
            norm,
            seed,
            dict.fromkeys(METRICS, float(values.get(norm, shared)[seed])),
        )
        for scheme in ("streams", "global")
        for norm in NORMS
        for seed in range(4000)
    ]
    return next(one for one in find_ratios(scores) if (one.arm, one.baseline) == ("group", "none"))


@pytest.mark.parametrize("correlation", [0.0, 0.5, 0.9])
def test_the_ratio_is_that_of_the_formula_and_lies_in_its_band(
    correlation: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("bench.pairing.variances.RESAMPLES", 200)
    found = ratio_of(correlation)
    # Var(a - b) = 1 + 4 - 2 · 2 · correlation.
    assert found.ratio == pytest.approx((5 - 4 * correlation) / 5, abs=0.04)
    assert found.low < found.ratio < found.high
    assert found.seeds == 4000
