"""Result rows grouped by any fields, each group with its statistics.

A diverged job counts as in a comparison; a job that failed or isn't finished has no value, and is counted.
"""

import json
import statistics as plain
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from store.db import BadQuery
from studies.comparison import FrozenModel
from studies.stats import Interval, higher_is_better, inference, score


class Group(FrozenModel):
    """Jobs with the same values of the fields `by`; `n` of them have a value of the metric.

    `best` and `worst` are by the metric's own direction; `pending` are neither finished nor failed.
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


@dataclass(frozen=True, slots=True)
class _Job:
    """A row of the columns that a person chose, `by`, and what its score rests on."""

    by: dict[str, Any]
    status: str
    reason: str | None
    metrics: Mapping[str, float | None]
    facts: Mapping[str, Any] | None


def group_rows(rows: Iterable[Mapping[str, Any]], by: Sequence[str], metric: str) -> list[Group]:
    """In the order of the values that the rows have under the names `by`, missing ones last.

    Beside these, rows have `status`, `reason`, `metrics` and, unless nothing is known of them, `facts`.
    """
    groups: dict[str, list[_Job]] = {}
    for row in rows:
        job = _Job(
            by={name: row[name] for name in by},
            status=row["status"],
            reason=row["reason"],
            metrics=row["metrics"],
            facts=row.get("facts"),
        )
        # Values may be lists, which can't be keys; the text of `1` and `"1"` differs, so that they stay apart.
        key = json.dumps(list(job.by.values()), sort_keys=True, default=str)
        groups.setdefault(key, []).append(job)
    found = [_group(members, metric) for members in groups.values()]
    return sorted(found, key=lambda group: [_place(value) for value in group.by.values()])


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


def _group(jobs: Sequence[_Job], metric: str) -> Group:
    scores = (score(job, metric).value for job in jobs)
    values = [value for value in scores if value is not None]
    best, worst = (max, min) if higher_is_better(metric) else (min, max)
    statuses = [job.status for job in jobs]
    ended = ("succeeded", "failed", "cancelled")
    return Group(
        by=jobs[0].by,
        metric=metric,
        jobs=len(jobs),
        n=len(values),
        mean=inference.mean(values),
        std=inference.deviation(values),
        median=plain.median(values) if values else None,
        interquartile_mean=inference.interquartile_mean(values) if values else None,
        interval=inference.t_interval(values),
        best=best(values, default=None),
        worst=worst(values, default=None),
        diverged=sum(job.reason == "diverged" for job in jobs),
        failed=statuses.count("failed"),
        cancelled=statuses.count("cancelled"),
        pending=sum(status not in ended for status in statuses),
    )


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
