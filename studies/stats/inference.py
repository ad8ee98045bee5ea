"""The statistics of a comparison, over plain finite floats.

scipy is imported where it is used: a process that compares nothing starts without it.

No variance to test with: differences that are equal but for rounding make Student's t undefined. If they
are zero, nothing speaks against "no difference" (p = 1); else the exact sign-flip test decides, whose
smallest p-value is 2 / 2ⁿ.
"""

import math
import statistics
from bisect import bisect_left
from collections.abc import Sequence
from typing import TypeAlias, TypedDict

from studies.spec import ENOUGH_SEEDS

Interval: TypeAlias = tuple[float, float]

CONFIDENCE = 0.95
LEVEL = 0.05
POWER = 0.8
#: Metrics equal on paper differ by so much: of themselves if they are large, else absolutely.
DIGITS = 12
RESAMPLES = 9999
#: Up to this many differences, scipy's signed ranks are exact whether values tie or not.
MOST_PERMUTED = 13
MOST_SEEDS = 100_000
#: Up to this many values, reducing fractions takes longer than adding them.
_FEW = 150


class Summary(TypedDict):
    """What is said of every set of paired differences; `p_value`: of no difference, two-sided."""

    n: int
    mean: float | None
    interval: Interval | None
    p_value: float | None


def summarize(gaps: Sequence[float], overlap: float) -> Summary:
    """Of differences that are paired by seed; `overlap` as in `t_interval`."""
    return {
        "n": len(gaps),
        "mean": mean(gaps),
        "interval": t_interval(gaps, overlap=overlap),
        "p_value": paired_p_value(gaps, overlap=overlap),
    }


def mean(values: Sequence[float]) -> float | None:
    """None of nothing."""
    return statistics.fmean(values) if values else None


def deviation(values: Sequence[float]) -> float | None:
    """Standard deviation of a sample (n - 1), 0 where the values differ by rounding alone; None below two."""
    if len(values) < 2:
        return None
    # Values that are equal on paper differ in their last digits. A standard deviation of 1e-17 would make t
    # astronomical, and a p-value of zero out of rounding.
    found = _sample_deviation(values)
    return 0.0 if _is_zero(found, values) else found


def _sample_deviation(values: Sequence[float]) -> float:
    """`statistics.stdev`, of which few values take a sixth of the time: exact, and rounded once, like that one."""
    if len(values) > _FEW:
        return statistics.stdev(values)
    ratios = [value.as_integer_ratio() for value in values]
    # Denominators are powers of two: over the largest, all values are whole numbers.
    scale = max(denominator for _, denominator in ratios)
    whole = [numerator * (scale // denominator) for numerator, denominator in ratios]
    n, total = len(whole), sum(whole)
    squares = sum(number * number for number in whole)
    return _root(n * squares - total * total, n * (n - 1) * scale * scale)


def _root(numerator: int, denominator: int) -> float:
    """The square root of a fraction, correctly rounded (https://bugs.python.org/msg407078)."""
    # Shifted so that the whole root has a few bits more than a float, the last of them odd if it isn't exact:
    # the division below then rounds as if it had all of them.
    shift = (numerator.bit_length() - denominator.bit_length() - 2 * 53 - 3) // 2
    if shift >= 0:
        return float(_odd_root(numerator, denominator << 2 * shift) << shift)
    return _odd_root(numerator << -2 * shift, denominator) / (1 << -shift)


def _odd_root(numerator: int, denominator: int) -> int:
    root = math.isqrt(numerator // denominator)
    return root | (root * root * denominator != numerator)


def interquartile_mean(values: Sequence[float]) -> float:
    """The mean without the lowest and the highest quarter, each rounded down to whole values."""
    import numpy as np

    # The steps of scipy's `trim_mean`, whose checks of its arguments take longer than a group of ten seeds.
    count = len(values)
    low = int(0.25 * count)
    parted = np.partition(np.asarray(values, np.float64), (low, count - low - 1))
    return float(parted[low : count - low].mean())


def slope(xs: Sequence[float], ys: Sequence[float]) -> float:
    """Least squares; `statistics.StatisticsError` where all `xs` are equal."""
    return statistics.linear_regression(xs, ys).slope


def t_interval(
    values: Sequence[float], *, overlap: float = 0.0, confidence: float = CONFIDENCE
) -> Interval | None:
    """Student's t-interval of the mean; None below two values.

    `overlap`: test over training examples where each value has its own random split of one data set. The
    values are then correlated, and the variance of their mean is s² (1/n + overlap) (Nadeau & Bengio 2003,
    "Inference for the generalization error"): close, and a little too narrow under a hundred examples.
    """
    spread = deviation(values)
    if spread is None:
        return None
    # `fmean` and the deviation add exactly; numpy's pairwise sums would depend on the order in which jobs were made.
    centre = statistics.fmean(values)
    return interval_around(centre, spread, len(values), overlap=overlap, confidence=confidence)


def interval_around(
    mean: float,
    deviation: float,
    n: int,
    *,
    overlap: float = 0.0,
    confidence: float = CONFIDENCE,
) -> Interval:
    """`t_interval` of two values or more with this mean and deviation."""
    from scipy.special import stdtrit

    half = float(stdtrit(n - 1, (1 + confidence) / 2)) * (deviation * math.sqrt(1 / n + overlap))
    return mean - half, mean + half


def bootstrap_interval(differences: Sequence[float]) -> Interval | None:
    """Of the mean, bias-corrected and accelerated; the same data give the same answer.

    The point itself where all are equal; None below two.
    """
    if len(differences) < 2:
        return None
    # All resamples are equal, and BCa's acceleration would be 0 / 0.
    if deviation(differences) == 0:
        return differences[0], differences[0]
    import numpy as np
    from scipy.stats import bootstrap

    found = bootstrap(
        (differences,),
        np.mean,
        n_resamples=RESAMPLES,
        batch=1111,
        confidence_level=CONFIDENCE,
        method="BCa",
        rng=0,
    ).confidence_interval
    return float(found.low), float(found.high)


def effect_size(differences: Sequence[float]) -> float | None:
    """Cohen's dz, mean over standard deviation; None below two differences or without variance."""
    spread = deviation(differences)
    return statistics.fmean(differences) / spread if spread else None


def probability_of_improvement(
    pairs: Sequence[tuple[float, float]], *, higher_is_better: bool
) -> float | None:
    """Share of pairs in which the first is better, and half of those in which they tie; None of no pairs."""
    if not pairs:
        return None
    # Ties count half, as in the Mann-Whitney statistic, so that two equal arms have 0.5.
    sign = 1 if higher_is_better else -1
    gaps = _without_rounding([sign * (one - other) for one, other in pairs])
    return statistics.fmean((gap > 0) + 0.5 * (gap == 0) for gap in gaps)


def paired_p_value(differences: Sequence[float], *, overlap: float = 0.0) -> float | None:
    """Two-sided paired t-test against zero; None below `ENOUGH_SEEDS` differences.

    `overlap` as in `t_interval`. Without variance see the module's rule.
    """
    n = len(differences)
    if n < ENOUGH_SEEDS:
        return None
    if deviation(differences) == 0:
        # No variance, no t. If all n differences are the same and not zero, only the sign is left to test: of 2ⁿ
        # equally likely patterns of signs two are as extreme, hence 2 / 2ⁿ. With 8 seeds that is 0.0078.
        return 1.0 if _is_zero(differences[0], differences) else _smallest_sign_flip(n)
    from scipy.special import stdtr

    t = statistics.fmean(differences) / _standard_error(differences, overlap)
    return float(2 * stdtr(n - 1, -abs(t)))


def wilcoxon_p_value(differences: Sequence[float]) -> float | None:
    """Wilcoxon's signed ranks, zeros left out, as `scipy.stats.wilcoxon`; 1 if all are zero.

    None below `ENOUGH_SEEDS` differences.
    """
    if len(differences) < ENOUGH_SEEDS:
        return None
    gaps = _without_rounding(differences)
    if not any(gaps):
        return 1.0
    import numpy as np
    from scipy.stats import permutation_test, rankdata, wilcoxon

    # Beyond 13 differences scipy falls back on the normal approximation where values tie, which is good enough
    # there.
    if len(gaps) > MOST_PERMUTED:
        return float(wilcoxon(gaps).pvalue)
    # scipy permutes as well where values tie, but ranks again each time, which takes half a second.
    ranks = np.sign(gaps) * (rankdata(np.abs(gaps)) - gaps.count(0))
    return float(
        permutation_test(
            (ranks,), np.sum, permutation_type="samples", n_resamples=2 ** len(gaps)
        ).pvalue
    )


def equivalence_p_value(
    differences: Sequence[float], margin: float, *, overlap: float = 0.0
) -> float | None:
    """Two one-sided t-tests that the mean lies within ± `margin`: the larger p-value (Schuirmann 1987).

    `overlap` as in `t_interval`; None below `ENOUGH_SEEDS` differences. Without variance, the smallest
    p-value of the sign-flip test where the mean is within the margin, else 1.
    """
    n = len(differences)
    if n < ENOUGH_SEEDS:
        return None
    centre = statistics.fmean(differences)
    if deviation(differences) == 0:
        # A mean that lies on the margin but for rounding is not within it.
        is_within = abs(centre) < margin and not _is_zero(abs(centre) - margin, differences)
        return _smallest_sign_flip(n) if is_within else 1.0
    from scipy.special import stdtr

    # The farther one-sided test: the mean's distance to the nearer margin decides.
    return float(stdtr(n - 1, (abs(centre) - margin) / _standard_error(differences, overlap)))


def holm(p_values: Sequence[float]) -> list[float]:
    """Adjusted for the number of tests (Holm 1979): reject what is at most the level."""
    adjusted, largest = [0.0] * len(p_values), 0.0
    order = sorted(range(len(p_values)), key=p_values.__getitem__)
    for rank, index in enumerate(order):
        # Running maximum: an adjusted p-value must not be smaller than that of a hypothesis which was rejected
        # before it. Of 0.01, 0.02 and 0.03 the factors 3, 2 and 1 make 0.03, 0.04 and, instead of 0.03, again
        # 0.04.
        largest = max(largest, min(1.0, (len(order) - rank) * p_values[index]))
        adjusted[index] = largest
    return adjusted


def seeds_needed(
    difference: float,
    deviation: float,
    *,
    level: float = LEVEL,
    power: float = POWER,
    overlap: float = 0.0,
) -> int | None:
    """The fewest pairs with which a two-sided paired t-test at `level` sees a true mean `difference` with
    probability `power`, `deviation` being that of the paired differences.

    None where the difference is zero, or more than `MOST_SEEDS` would be needed: with `overlap` (as in
    `t_interval`) more seeds help only so far. Without deviation the sign-flip test must be able to reject.
    """
    if difference == 0:
        return None
    if deviation == 0:
        # The smallest n with 2 / 2ⁿ at most the level: 6 at 5 %.
        return math.ceil(1 - math.log2(level))

    def reached(n: int) -> float:
        return _power(n, abs(difference) / (deviation * math.sqrt(1 / n + overlap)), level)

    # Power rises with n, so that a bisection finds the first n in 17 steps.
    candidates = range(2, MOST_SEEDS + 1)
    found = bisect_left(candidates, power, key=reached)
    return candidates[found] if found < len(candidates) else None


def _power(n: int, shift: float, level: float) -> float:
    """Of the two-sided t-test where the mean is `shift` standard errors away: noncentral t."""
    from scipy.special import nctdtr, stdtrit

    bound = float(stdtrit(n - 1, 1 - level / 2))
    # Both tails reject; the one against the true direction is tiny, but not where the shift is near zero.
    below, above = float(nctdtr(n - 1, shift, bound)), float(nctdtr(n - 1, shift, -bound))
    # scipy returns NaN where the probability is too small for it.
    return 1 - (0.0 if math.isnan(below) else below) + (0.0 if math.isnan(above) else above)


def _standard_error(values: Sequence[float], overlap: float) -> float:
    return (deviation(values) or 0.0) * math.sqrt(1 / len(values) + overlap)


def _smallest_sign_flip(n: int) -> float:
    return 2.0 ** (1 - n)


def _is_zero(value: float, values: Sequence[float]) -> bool:
    """Whether `value` is what rounding leaves of computations with `values`."""
    return abs(value) <= _scale(values) * 10.0**-DIGITS


def _without_rounding(differences: Sequence[float]) -> list[float]:
    """The differences in units of their scale, so that ties tie and zeros are zero."""
    scale = _scale(differences)
    return [round(one / scale, DIGITS) for one in differences]


def _scale(values: Sequence[float]) -> float:
    return max(1.0, *map(abs, values))
