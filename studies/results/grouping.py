"""Result rows grouped by any fields, each group with its statistics.

A diverged job counts as in a comparison; a job that failed or isn't finished has no value, and is counted.
"""

import json
import statistics
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from store.db import BadQuery
from store.results import ResultGroup
from studies.comparison import FrozenModel
from studies.stats import Interval, higher_is_better, inference


class Group(FrozenModel):
    """Jobs with the same values of the fields `by`; `n` of them have a value of the metric.

    `best` and `worst` are by the metric's own direction; `pending` are neither finished nor failed. `interval`: of the
    mean, over seeds; jobs of one seed are averaged first, since they share their data order.
    """

    by: dict[str, Any]
    metric: str
    jobs: int
    n: int
    mean: float | None
    std: float | None
    median: float | None
    interquartile_mean: float | None
    interval: Interval | None
    best: float | None
    worst: float | None
    diverged: int
    failed: int
    cancelled: int
    pending: int


#: What groups may be sorted by, besides their fields.
SORTABLE = (
    "jobs", "n", "mean", "std", "median", "interquartile_mean", "best", "worst",
    "diverged", "failed", "cancelled", "pending",
)  # fmt: skip


def describe_groups(groups: Iterable[ResultGroup], metric: str) -> list[Group]:
    """In the order of the values that they have in common, missing ones last."""
    described = [describe_group(group, metric) for group in groups]
    return sorted(described, key=lambda group: place_of(group.by))


def arrange(groups: Sequence[Group], order: str) -> list[Group]:
    """By one of `SORTABLE` or of their fields, falling after `-`; missing values last. Raises BadQuery."""
    name = order.strip()
    falling = name.startswith("-")
    name = name[falling:]
    if name not in SORTABLE and any(name not in group.by for group in groups):
        position = order.index("-") + 1 if falling else 0
        known = ", ".join((*(groups[0].by if groups else ()), *SORTABLE))
        raise BadQuery(f"groups have no {name[:60]!r} to be sorted by; they have {known}", position)
    keys = [
        _place(group.by[name] if name in group.by else getattr(group, name)) for group in groups
    ]
    # Missing values are put last in either direction, which `reverse` alone would turn around.
    there = [at for at in range(len(groups)) if not keys[at][0]]
    there.sort(key=keys.__getitem__, reverse=falling)
    return [groups[at] for at in (*there, *(at for at in range(len(groups)) if keys[at][0]))]


def describe_group(group: ResultGroup, metric: str, *, overlap: float = 0.0) -> Group:
    """`overlap` as in `t_interval`."""
    values = group.scores
    best, worst = (max, min) if higher_is_better(metric) else (min, max)
    mean, std = inference.mean(values), inference.deviation(values)
    return Group(
        by=group.by,
        metric=metric,
        jobs=group.jobs,
        n=len(values),
        mean=mean,
        std=std,
        median=statistics.median(values) if values else None,
        interquartile_mean=inference.interquartile_mean(values) if values else None,
        interval=_interval_of(group, mean, std, overlap),
        best=best(values, default=None),
        worst=worst(values, default=None),
        diverged=group.diverged,
        failed=group.failed,
        cancelled=group.cancelled,
        pending=group.pending,
    )


def _interval_of(
    group: ResultGroup, mean: float | None, std: float | None, overlap: float
) -> Interval | None:
    if mean is None or std is None:
        return None
    if len(set(group.seeds)) == len(group.seeds):
        return inference.interval_around(mean, std, len(group.scores), overlap=overlap)
    means = average_by_seed(zip(group.seeds, group.scores, strict=True))
    return inference.t_interval(means, overlap=overlap)


def average_by_seed(values: Iterable[tuple[int, float]]) -> list[float]:
    """The mean of each seed's values, in the order of the seeds' first."""
    by_seed: dict[int, list[float]] = defaultdict(list)
    for seed, value in values:
        by_seed[seed].append(value)
    return [same[0] if len(same) == 1 else statistics.fmean(same) for same in by_seed.values()]


def place_of(by: Mapping[str, Any]) -> list[tuple[bool, int, Any]]:
    """Of a group among others: by its values."""
    return [_place(value) for value in by.values()]


def _place(value: Any) -> tuple[bool, int, Any]:
    """Missing last; numbers, then texts, then lists."""
    match value:
        case None | []:
            return True, 0, 0
        case int() | float():
            return False, 0, value
        case str():
            return False, 1, value
        case _:
            return False, 2, json.dumps(value, default=str)
