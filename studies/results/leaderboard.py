"""Leaderboards: which spec did best on validation, whoever trained it.

Only what was trained on the same data for the same task is ranked together. A diverged job counts as in a
comparison; an entry of which a job has no value comes last, so that none leads by its survivors.
"""

import json
import math
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, Literal

from store.results import RankedJob
from studies.comparison import FrozenModel
from studies.stats import Interval, higher_is_better, inference, score

ValidationMetric = Literal["best_val_accuracy", "best_val_loss"]


class Entry(FrozenModel):
    """A spec without its seed. `rank` is None where a job has no value; `best_job`: the best of its jobs;
    `dataset` and `task` say which board it is on."""

    dataset: dict[str, Any]
    task: dict[str, Any]
    rank: int | None
    name: str
    metric: str
    n: int
    mean: float | None
    std: float | None
    interval: Interval | None
    diverged: int
    failed: int
    studies: tuple[int, ...]
    best_job: int | None


def rank(rows: Iterable[RankedJob], metric: ValidationMetric, most: int) -> list[Entry]:
    """The best `most` entries of each board, the board with the newest job first."""
    boards: dict[str, list[RankedJob]] = {}
    for row in rows:
        # `data` is the digest of the decoded examples: two data sets of one name, or one that was decoded anew
        # from other files, have boards of their own.
        key = json.dumps([row.dataset, row.task, row.data], sort_keys=True)
        boards.setdefault(key, []).append(row)
    newest = sorted(boards.values(), key=lambda board: -max(row.job_id for row in board))
    return [entry for board in newest for entry in _ranked(board, metric)[:most]]


def _ranked(board: Sequence[RankedJob], metric: ValidationMetric) -> list[Entry]:
    entries = list(_entries(board, metric))
    sign = -1 if higher_is_better(metric) else 1
    # Who has a job without a value comes last whatever the mean of the others: else one would lead by deleting
    # the bad seeds.
    entries.sort(key=lambda one: (one.rank is None, sign * _mean(one)))
    places = iter(range(1, len(entries) + 1))
    return [
        one if one.rank is None else one.model_copy(update={"rank": next(places)})
        for one in entries
    ]


def _mean(entry: Entry) -> float:
    return math.inf if entry.mean is None else entry.mean


def _entries(board: Sequence[RankedJob], metric: ValidationMetric) -> Iterator[Entry]:
    """Not yet in order: those that take part have rank 0. A seed counts once, as it was trained last."""
    groups: dict[str, dict[int, RankedJob]] = {}
    for row in board:
        # The same spec trained twice at a seed gives the same result; counted twice it would shrink the interval
        # for nothing.
        groups.setdefault(row.entry, {})[row.seed] = row
    for seeds in groups.values():
        rows = list(seeds.values())
        scores = {row.job_id: score(row, metric).value for row in rows}
        values = [value for value in scores.values() if value is not None]
        choose = max if higher_is_better(metric) else min
        best = (
            choose((value, job) for job, value in scores.items() if value is not None)
            if values
            else None
        )
        yield Entry(
            dataset=rows[0].dataset,
            task=rows[0].task,
            rank=0 if len(values) == len(rows) else None,
            name=_name(rows[-1]),
            metric=metric,
            n=len(values),
            mean=inference.mean(values),
            std=inference.deviation(values),
            interval=inference.t_interval(values),
            diverged=sum(row.reason == "diverged" for row in rows),
            failed=sum(row.status == "failed" for row in rows),
            studies=tuple(sorted({row.study_id for row in rows if row.study_id is not None})),
            best_job=best[1] if best else None,
        )


def _name(row: RankedJob) -> str:
    """`group · batch_size=8`: a job's name without its seed."""
    return row.name.removesuffix(f" | seed {row.seed}")
