"""How often the statistics err, by simulation: seeds and numbers of draws were fixed before the first run.

A rate may exceed what is promised by chance alone: a bound fails only if that has a probability under
1 in 1000. The formulas run over whole arrays here, since hundreds of thousands of calls take minutes; each
must equal the product's function on a sample.
"""

import math
from collections.abc import Sequence

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.special import ndtri, stdtr, stdtrit

from studies.spec.study import read_study
from studies.stats.group_sequential import sequential_holm
from studies.stats.inference import CONFIDENCE, DIGITS, LEVEL, holm, paired_p_value, t_interval

Numbers = NDArray[np.float64]

SEED = 20261126
DRAWS = 20_000
#: For rates that must be met within half a point, which is 4.6 of their standard deviations.
MANY_DRAWS = 40_000
HALF_A_POINT = 0.005
#: So many draws of each simulation go through the product's own functions as well.
SAMPLE = 500

#: True gains of three variants over their shared baseline, in deviations of one job; the last is clear.
NULLS = (0.0, 0.0, 0.0)
TWO_NULLS = (0.0, 0.0, 5.0)


def highest(rate: float, draws: int) -> float:
    """The most that an event of this rate is seen at, but for 1 in 1000."""
    return rate + float(ndtri(0.999)) * math.sqrt(rate * (1 - rate) / draws)


def accuracies(draw: np.random.Generator, shape: tuple[int, ...]) -> Numbers:
    return draw.normal(0.9, 0.02, shape)


def accuracies_of_360_images(draw: np.random.Generator, shape: tuple[int, ...]) -> Numbers:
    """So alike that differences tie, are zero, or are all equal."""
    return np.round(draw.normal(0.97, 0.003, shape) * 360) / 360


def gaps(values: Numbers, gains: Sequence[float], deviation: float) -> Numbers:
    """Differences of (draws, 1 + variants, seeds) to the first arm, which is the baseline of all others."""
    return values[:, 1:] - values[:, :1] + deviation * np.array(gains)[:, None]


def p_values(differences: Numbers, overlap: float = 0.0) -> Numbers:
    """The product's `paired_p_value` along the last axis."""
    n = differences.shape[-1]
    scale = np.maximum(1.0, np.abs(differences).max(-1)) * 10.0**-DIGITS
    spread = differences.std(-1, ddof=1)
    exact = np.where(np.abs(differences[..., 0]) <= scale, 1.0, 2.0 ** (1 - n))
    error = np.where(spread <= scale, 1.0, spread) * math.sqrt(1 / n + overlap)
    tested = 2 * stdtr(n - 1, -np.abs(differences.mean(-1) / error))
    found: Numbers = np.where(spread <= scale, exact, tested)
    # The sample is spread over all draws and holds those that the t-test doesn't decide.
    rows, values = differences.reshape(-1, n), found.reshape(-1)
    degenerate = np.flatnonzero((spread <= scale).reshape(-1))[:SAMPLE]
    for row in {*range(0, len(rows), max(1, len(rows) // SAMPLE)), *degenerate.tolist()}:
        product = paired_p_value(rows[row].tolist(), overlap=overlap)
        assert values[row] == pytest.approx(product, rel=1e-9)
    return found


def claims_of_nothing(claimed: Sequence[int | None], gains: Sequence[float]) -> bool:
    return any(look is not None and gain == 0 for look, gain in zip(claimed, gains, strict=True))


@pytest.mark.parametrize("gains", [NULLS, TWO_NULLS])
def test_a_study_of_three_variants_claims_falsely_in_no_more_than_one_of_twenty(
    gains: tuple[float, ...],
) -> None:
    draw = np.random.default_rng(SEED)
    studies = gaps(accuracies(draw, (DRAWS, 4, 8)), gains, 0.02)
    tested = p_values(studies).tolist()
    claims = [sequential_holm([of_study], [8]) for of_study in tested]
    rate = np.mean([claims_of_nothing(claimed, gains) for claimed in claims])
    assert 0.03 < rate <= highest(LEVEL, DRAWS)
    for of_study, claimed in zip(tested[:50], claims[:50], strict=True):
        assert [p <= LEVEL for p in holm(of_study)] == [look == 0 for look in claimed]


def test_coarse_accuracies_cause_no_more_false_claims() -> None:
    draw = np.random.default_rng(SEED)
    studies = gaps(accuracies_of_360_images(draw, (DRAWS, 4, 8)), NULLS, 0.0)
    claims = [sequential_holm([of_study], [8]) for of_study in p_values(studies).tolist()]
    rate = np.mean([claims_of_nothing(claimed, NULLS) for claimed in claims])
    assert 0.03 < rate <= highest(LEVEL, DRAWS)


@pytest.mark.parametrize("n", [3, 5, 8])
def test_the_interval_covers_the_true_mean_in_nineteen_of_twenty(n: int) -> None:
    samples = accuracies(np.random.default_rng(SEED), (MANY_DRAWS, n))
    centres = samples.mean(-1)
    halves = stdtrit(n - 1, (1 + CONFIDENCE) / 2) * samples.std(-1, ddof=1) / math.sqrt(n)
    for sample, centre, half in list(zip(samples.tolist(), centres, halves, strict=True))[:SAMPLE]:
        assert t_interval(sample) == pytest.approx((centre - half, centre + half), rel=1e-12)
    coverage = np.mean(np.abs(centres - 0.9) <= halves)
    assert 1 - coverage <= highest(1 - CONFIDENCE, MANY_DRAWS)
    assert abs(coverage - CONFIDENCE) <= HALF_A_POINT


def test_a_single_comparison_claims_falsely_in_one_of_twenty() -> None:
    values = accuracies(np.random.default_rng(SEED), (MANY_DRAWS, 2, 8))
    rate = np.mean(p_values(gaps(values, (0.0,), 0.02)) <= LEVEL)
    assert abs(rate - LEVEL) <= HALF_A_POINT


@pytest.mark.parametrize("gains", [NULLS, TWO_NULLS])
def test_two_declared_looks_together_claim_falsely_in_no_more_than_one_of_twenty(
    gains: tuple[float, ...],
) -> None:
    draw, looks = np.random.default_rng(SEED), [8, 16]
    studies = gaps(accuracies(draw, (DRAWS, 4, 16)), gains, 0.02)
    tested = np.stack([p_values(studies[..., :look]) for look in looks], axis=1).tolist()
    claims = [sequential_holm(by_look, looks) for by_look in tested]
    rate = np.mean([claims_of_nothing(claimed, gains) for claimed in claims])
    assert 0.03 < rate <= highest(LEVEL, DRAWS)


@pytest.mark.parametrize("gains", [(0.0,), NULLS, TWO_NULLS])
def test_a_study_that_grows_until_it_is_decided_claims_falsely_in_no_more_than_one_of_twenty(
    gains: tuple[float, ...],
) -> None:
    draw = np.random.default_rng(SEED)
    variants = {name: {} for name in ("first", "other")}
    study = read_study({"name": "s", "variants": variants, "seeds": "until decided, at most 40"})
    looks = study.looks
    studies = gaps(accuracies(draw, (DRAWS, 1 + len(gains), looks[-1])), gains, 0.02)
    tested = np.stack([p_values(studies[..., :look]) for look in looks], axis=1).tolist()
    claims = [sequential_holm(by_look, looks, spending=study.spending) for by_look in tested]
    rate = np.mean([claims_of_nothing(claimed, gains) for claimed in claims])
    assert 0.03 < rate <= highest(LEVEL, DRAWS)


def test_resampled_splits_need_the_correction_and_it_is_enough() -> None:
    """Two lines fitted to y = a + b + noise, one through a and one through b: by symmetry equally good.

    Each of 100 examples is drawn once; 8 times a random fifth is held out. Naively, what happens to suit
    one of the two in these 100 examples counts as if it had been seen 8 times.
    """
    draw, overlap = np.random.default_rng(SEED), 20 / 80
    differences = np.concatenate(
        [
            squared_errors(first, y, held_out, trained)
            - squared_errors(second, y, held_out, trained)
            for first, second, y, held_out, trained in (resampled(draw, 1000) for _ in range(20))
        ]
    )
    assert len(differences) == DRAWS
    naive, corrected = (np.mean(p_values(differences, share) <= LEVEL) for share in (0.0, overlap))
    assert naive > 3 * LEVEL
    assert corrected <= highest(LEVEL, DRAWS)


Indices = NDArray[np.int64]


def resampled(
    draw: np.random.Generator, count: int
) -> tuple[Numbers, Numbers, Numbers, Indices, Indices]:
    """`count` data sets of two inputs and a target, (count, 100), and 8 splits of each, (count, 8, ·)."""
    first, second, noise = draw.normal(size=(3, count, 100))
    order = draw.random((count, 8, 100)).argsort(axis=-1)
    return first, second, first + second + noise, order[..., :20], order[..., 20:]


def squared_errors(x: Numbers, y: Numbers, held_out: Indices, trained: Indices) -> Numbers:
    """Mean squared error on the held-out examples of the least-squares line through the others."""

    def taken(values: Numbers, indices: Indices) -> Numbers:
        return np.take_along_axis(values[:, None, :], indices, axis=-1)

    xs, ys = taken(x, trained), taken(y, trained)
    x_mean, y_mean = xs.mean(-1, keepdims=True), ys.mean(-1, keepdims=True)
    slope = ((xs - x_mean) * ys).sum(-1, keepdims=True) / ((xs - x_mean) ** 2).sum(
        -1, keepdims=True
    )
    predicted = y_mean + slope * (taken(x, held_out) - x_mean)
    errors: Numbers = ((taken(y, held_out) - predicted) ** 2).mean(-1)
    return errors
