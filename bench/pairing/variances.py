"""What pairing saves: the variance of paired differences beside that of differences between unrelated trainings."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy
from numpy.typing import NDArray

from bench.pairing.trainings import METRICS, NORMS, SCHEMES, Scheme, Score

#: Resamples of the seeds for a band of 95 %.
RESAMPLES = 10_000

Values = NDArray[numpy.float64]


@dataclass(frozen=True, slots=True)
class Ratio:
    """`Var(a - b) / (Var(a) + Var(b))` of two arms over seeds: 1 where pairing saves nothing, 0 where it leaves nothing to
    chance. The seeds that a comparison needs go with it."""

    setting: str
    metric: str
    scheme: Scheme
    arm: str
    baseline: str
    seeds: int
    difference_std: float
    ratio: float
    low: float
    high: float


def find_ratios(scores: Sequence[Score]) -> Iterator[Ratio]:
    """Each norm beside none, and the others beside batch; the bands by resampling seeds."""
    for setting in dict.fromkeys(score.setting for score in scores):
        for metric in METRICS:
            for scheme in SCHEMES:
                arms = _by_arm(
                    [s for s in scores if (s.setting, s.scheme) == (setting, scheme)], metric
                )
                for baseline in ("none", "batch"):
                    for arm in NORMS:
                        if arm not in (baseline, "none"):
                            a, b = arms[arm], arms[baseline]
                            low, high = _band(a, b)
                            yield Ratio(
                                setting, metric, scheme, arm, baseline, len(a),
                                float((a - b).std(ddof=1)), float(_ratio(a, b)), low, high,
                            )  # fmt: skip


def _by_arm(scores: Sequence[Score], metric: str) -> Mapping[str, Values]:
    """In the order of the seeds, of which every arm has all."""
    seeds = sorted(
        set.intersection(*({s.seed for s in scores if s.norm == norm} for norm in NORMS))
    )
    values = {(score.norm, score.seed): score.values[metric] for score in scores}
    return {norm: numpy.array([values[norm, seed] for seed in seeds]) for norm in NORMS}


def _ratio(a: Values, b: Values) -> Values:
    """Along the last axis."""
    apart = a.var(axis=-1, ddof=1) + b.var(axis=-1, ddof=1)
    ratio: Values = (a - b).var(axis=-1, ddof=1) / numpy.where(apart > 0, apart, numpy.nan)
    return ratio


def _band(a: Values, b: Values) -> tuple[float, float]:
    rows = numpy.random.default_rng(0).integers(len(a), size=(RESAMPLES, len(a)))
    low, high = numpy.nanquantile(_ratio(a[rows], b[rows]), [0.025, 0.975])
    return float(low), float(high)
