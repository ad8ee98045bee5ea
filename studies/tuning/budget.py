"""What a smaller budget would have come to: the best of fewer trials, of each arm, and by how much the leading arm would
have led. On validation, at the tuning seeds."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from studies.stats import Interval, higher_is_better
from studies.tuning.trials import TunedArm

RESAMPLES = 2000
#: With fewer trials there is nothing to be said of fewer.
ENOUGH_TRIALS = 4


@dataclass(frozen=True, slots=True)
class BestOf:
    """`value`: the best of so many trials; `band`: 95 %, None where the order of the trials decides, and of all trials."""

    trials: int
    value: float
    band: Interval | None


@dataclass(frozen=True, slots=True)
class Lead:
    """The arm that leads at a matrix point, and by how much before the next one: `half` with half of the trials, where
    another arm may have led (then negative)."""

    arm: str
    second: str
    trials: int
    whole: float
    half: float


def budgets(trials: int) -> tuple[int, ...]:
    """1, 2, 4, …, half of them and all."""
    powers = {2**power for power in range(trials.bit_length()) if 2**power < trials}
    return tuple(sorted({*powers, max(1, trials // 2), trials}))


def best_by_budget(arm: TunedArm, metric: str, *, learns: bool) -> tuple[BestOf, ...]:
    """`learns`: later trials rest on the results of earlier ones, so that fewer trials would have been the first ones;
    else any of them, and the best of k is an expectation (Dodge et al. 2019, arXiv 1909.03004), without the bias of
    drawing a trial twice (Tang et al. 2020, arXiv 2004.13705): the best of all is what came out."""
    values = _values(arm, metric)
    if len(values) < ENOUGH_TRIALS:
        return ()
    counts = budgets(len(values))
    bands = dict.fromkeys(counts) if learns else _bands(values, counts, metric)
    return tuple(
        BestOf(count, _best_of(values, count, metric, learns=learns), bands[count])
        for count in counts
    )


def leads(arms: Sequence[TunedArm], metric: str, *, learns: bool) -> Iterator[Lead]:
    """One for each matrix point at which several arms were tuned."""
    sign = 1 if higher_is_better(metric) else -1
    points: dict[str, list[TunedArm]] = {}
    for arm in arms:
        points.setdefault(repr(sorted(arm.point.items())), []).append(arm)
    for several in points.values():
        values = {arm.arm: _values(arm, metric) for arm in several}
        trials = min(map(len, values.values()))
        if len(values) < 2 or trials < ENOUGH_TRIALS:
            continue

        def best(count: int, values: dict[str, list[float]] = values) -> dict[str, float]:
            return {
                name: sign * _best_of(arm_values, count, metric, learns=learns)
                for name, arm_values in values.items()
            }

        whole, half = best(trials), best(max(1, trials // 2))
        first, second, *_ = sorted(whole, key=lambda name: whole[name], reverse=True)
        others = [value for name, value in half.items() if name != first]
        yield Lead(first, second, trials, whole[first] - whole[second], half[first] - max(others))


def expected_best(ascending: Sequence[float], count: int) -> float:
    """Of `count` different ones of the values, each choice of which is as likely."""
    weights = _weigh_ranks(len(ascending), count)
    return math.fsum(weight * value for weight, value in zip(weights, ascending, strict=True))


def _weigh_ranks(size: int, count: int) -> list[float]:
    """By rank, from the lowest, the share of the choices of `count` among `size` of which it is the largest: C(i − 1, k − 1)
    / C(n, k)."""
    weights = [0.0] * size
    weight = count / size
    for rank in range(size, count - 1, -1):
        weights[rank - 1] = weight
        weight *= (rank - count) / max(rank - 1, 1)
    return weights


def _best_of(values: Sequence[float], count: int, metric: str, *, learns: bool) -> float:
    sign = 1 if higher_is_better(metric) else -1
    signed = [sign * value for value in values]
    return sign * (max(signed[:count]) if learns else expected_best(sorted(signed), count))


def _bands(
    values: Sequence[float], counts: Sequence[int], metric: str
) -> dict[int, Interval | None]:
    """By resampling the trials; the same data give the same answer. Of the best of all resampling tells nothing."""
    import numpy as np

    sign = 1 if higher_is_better(metric) else -1
    n = len(values)
    signed = sign * np.asarray(values)
    drawn = np.sort(np.random.default_rng(0).choice(signed, (RESAMPLES, n)), axis=1)
    bands: dict[int, Interval | None] = {n: None}
    for count in (count for count in counts if count < n):
        expected = sign * (drawn @ np.asarray(_weigh_ranks(n, count)))
        low, high = np.quantile(expected, [0.025, 0.975])
        bands[count] = (float(low), float(high))
    return bands


def _values(arm: TunedArm, metric: str) -> list[float]:
    """In the order of the trials. One without a value, or stopped early, counts as the arm's worst; an arm with none at
    all has none."""
    means = [tried.mean if tried.is_whole else None for tried in arm.tried]
    values = [mean for mean in means if mean is not None]
    if not values:
        return []
    worst = min(values) if higher_is_better(metric) else max(values)
    return [worst if mean is None else mean for mean in means]
