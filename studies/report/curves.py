"""Learning curves of a study's arms or of one job: means over seeds, with what is left out.

Only training and validation have curves: the test set stays sealed. A value that isn't finite is None.
"""

import math
import statistics as stdlib
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from typing import Any, Literal, TypeAlias, get_args

from store.results import ResultRow
from studies.comparison import FrozenModel
from studies.report.diagnostics import spread
from studies.spec import arm_name
from studies.stats import Interval, t_interval

CurveMetric: TypeAlias = Literal["val_accuracy", "val_loss", "train_accuracy", "train_loss"]
CurveAxis: TypeAlias = Literal["epoch", "step"]
CURVE_METRICS: tuple[CurveMetric, ...] = get_args(CurveMetric)

#: One evaluation period.
Period: TypeAlias = Mapping[str, Any]
#: Epoch or step, and the value there.
Points: TypeAlias = list[tuple[int, float]]
#: Epoch or step, mean, and the interval of the mean (None at one curve).
Band: TypeAlias = list[tuple[int, float, Interval | None]]

#: More lines nobody tells apart; more points no screen shows.
MOST_SEEDS, MOST_SEED_POINTS = 200, 500
_UNFINISHED = ("queued", "running", "paused")


class CurvePoint(FrozenModel):
    """The mean over the curves at this epoch or step, and its 95 % t-interval (None at one curve)."""

    x: int
    mean: float
    low: float | None
    high: float | None


class SeedCurve(FrozenModel):
    """One job's own values, as pairs of epoch or step and value; `left_out`: why the mean is without them."""

    job_id: int
    seed: int
    left_out: str | None
    points: tuple[tuple[int, float], ...]


class CurveSeries(FrozenModel):
    """One arm of a study, or one job: the mean of `n` curves; `left_out`: how many jobs have none in it, by
    the reason; `place` is the arm's point of the matrix in words; `seeds`: its jobs, where they were asked for;
    `non_finite`: how many values of one job are NaN or infinite, which no curve shows."""

    name: str
    variant: str
    place: str = ""
    n: int
    left_out: dict[str, int]
    points: tuple[CurvePoint, ...]
    seeds: tuple[SeedCurve, ...] = ()
    non_finite: int = 0


class Curves(FrozenModel):
    """What a figure of learning curves shows; `seeds_left_out`: jobs without a curve of their own, since there are too
    many."""

    title: str
    metric: CurveMetric
    x: CurveAxis
    baseline: str | None = None
    series: tuple[CurveSeries, ...]
    seeds_left_out: int = 0


def study_curves(
    title: str,
    jobs: Sequence[ResultRow],
    periods: Mapping[int, Sequence[Period]],
    *,
    baseline: str,
    metric: CurveMetric | None = None,
    x: CurveAxis = "epoch",
    seeds: bool = False,
) -> Curves:
    """Of a study's jobs and the evaluation periods of each; with `seeds`, of each job as well.

    A seed that stopped early keeps its last value in the mean, so that the mean isn't over those alone
    that went on; while a seed still trains, the mean ends where that seed is.
    """
    metric = metric or _usual_metric([row for rows in periods.values() for row in rows])
    arms: dict[str, list[ResultRow]] = {}
    for job in jobs:
        arms.setdefault(arm_name(job.variant, job.point), []).append(job)
    measured = [job.job_id for job in jobs if seeds and periods.get(job.job_id)]
    own = set(spread(measured, MOST_SEEDS))
    return Curves(
        title=title,
        metric=metric,
        x=x,
        baseline=baseline,
        series=tuple(
            _series(name, of_arm, periods, metric, x, own) for name, of_arm in arms.items()
        ),
        seeds_left_out=len(measured) - len(own),
    )


def job_curves(
    title: str, periods: Sequence[Period], metric: CurveMetric | None = None, x: CurveAxis = "epoch"
) -> Curves:
    """Of one job: training and validation beside each other."""
    metric = metric or _usual_metric(periods)
    measure = metric.partition("_")[2]
    series = []
    for split, words in (("val", "validation"), ("train", "training")):
        name = f"{split}_{measure}"
        points = _points(mean_curve([finite_points(periods, name, x)]))
        series.append(
            CurveSeries(
                name=name,
                variant=words,
                n=1,
                left_out={},
                points=points,
                non_finite=sum(name in row.get("non_finite", ()) for row in periods),
            )
        )
    return Curves(title=title, metric=metric, x=x, series=tuple(series))


def mean_curve(curves: Sequence[Sequence[tuple[int, float]]], until: float = math.inf) -> Band:
    """Over curves, each carrying its last value onwards; starts where every curve has a value."""
    drawn = [dict(curve) for curve in curves if curve]
    places = sorted({x for curve in drawn for x in curve if x <= until})
    last: list[float | None] = [None] * len(drawn)
    band: Band = []
    for x in places:
        last = [curve.get(x, held) for curve, held in zip(drawn, last, strict=True)]
        values = [value for value in last if value is not None]
        if len(values) == len(drawn):
            band.append((x, stdlib.fmean(values), t_interval(values)))
    return band


def finite_points(periods: Sequence[Period], column: str, x: str = "epoch") -> Points:
    return [
        (row[x], value)
        for row in periods
        if (value := row[column]) is not None and math.isfinite(value)
    ]


def _series(
    name: str,
    jobs: Sequence[ResultRow],
    periods: Mapping[int, Sequence[Period]],
    metric: CurveMetric,
    x: CurveAxis,
    own: Collection[int],
) -> CurveSeries:
    """`own`: the jobs that get a curve of their own beside the mean."""
    curves: list[Points] = []
    seeds: list[SeedCurve] = []
    left_out: Counter[str] = Counter()
    until = math.inf
    for job in jobs:
        points = finite_points(periods.get(job.job_id, ()), metric, x)
        why = _left_out(job, points)
        if job.job_id in own and points:
            drawn = tuple(spread(points, MOST_SEED_POINTS))
            seeds.append(SeedCurve(job_id=job.job_id, seed=job.seed, left_out=why, points=drawn))
        if why is not None:
            left_out[why] += 1
            continue
        curves.append(points)
        if job.status in _UNFINISHED:
            until = min(until, points[-1][0])
    return CurveSeries(
        name=name,
        variant=jobs[0].variant,
        place=arm_name("", jobs[0].point).removeprefix(" · "),
        n=len(curves),
        left_out=dict(left_out),
        points=_points(mean_curve(curves, until)),
        seeds=tuple(seeds),
    )


def _left_out(job: ResultRow, points: Points) -> str | None:
    if job.reason == "diverged":
        return "diverged"
    if job.status not in ("succeeded", *_UNFINISHED) or not points:
        return job.status if job.status != "succeeded" else "without a value"
    return None


def _usual_metric(periods: Sequence[Period]) -> CurveMetric:
    """Accuracy on validation; a regression has none."""
    has_accuracy = any(row["val_accuracy"] is not None for row in periods)
    return "val_accuracy" if has_accuracy or not periods else "val_loss"


def _points(band: Band) -> tuple[CurvePoint, ...]:
    return tuple(
        CurvePoint(
            x=x,
            mean=mean,
            low=interval[0] if interval else None,
            high=interval[1] if interval else None,
        )
        for x, mean, interval in band
    )
