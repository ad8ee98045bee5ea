"""Leaderboards: which spec did best on validation, whoever trained it.

Only what was trained on the same data for the same task is ranked together. A diverged job counts as in a
comparison; an entry of which a job has no value comes last, so that none leads by its survivors.
"""

import itertools
import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Literal

from sqlalchemy.orm import Session

from store.query import find_field
from store.results import RankedEntry, RankedJob, leaderboard
from studies.comparison import FrozenModel
from studies.stats import Interval, higher_is_better, inference

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


def rank(
    session: Session,
    metric: ValidationMetric,
    most: int,
    *,
    project: str | None = None,
    dataset: str | None = None,
) -> list[Entry]:
    """The best `most` entries of each board, the board with the newest job first."""
    boards: dict[Any, list[RankedEntry]] = {}
    for entry in leaderboard.read_entries(
        session, find_field(metric), project=project, dataset=dataset
    ):
        boards.setdefault(entry.board, []).append(entry)
    newest = sorted(boards.values(), key=lambda board: -max(entry.newest for entry in board))
    best = [_best(board, metric, most) for board in newest]
    # Only now the jobs' documents, and only of those that are shown.
    shown = [job_id for board in best for entry in board for job_id, _ in entry.jobs.values()]
    jobs = leaderboard.read_jobs(session, shown)
    return [entry for board in best for entry in _describe(board, jobs, metric)]


def _best(board: Sequence[RankedEntry], metric: ValidationMetric, most: int) -> list[RankedEntry]:
    sign = -1 if higher_is_better(metric) else 1

    def place(entry: RankedEntry) -> tuple[bool, float]:
        scores = _scores(entry)
        mean = inference.mean(scores)
        return len(scores) < len(entry.jobs), math.inf if mean is None else sign * mean

    # Who has a job without a value comes last whatever the mean of the others: else one would lead by deleting
    # the bad seeds.
    return sorted(board, key=place)[:most]


def _scores(entry: RankedEntry) -> list[float]:
    return [score for _, score in entry.jobs.values() if not math.isnan(score)]


def _describe(
    board: Sequence[RankedEntry], jobs: Mapping[int, RankedJob], metric: ValidationMetric
) -> Iterator[Entry]:
    places = itertools.count(1)
    choose = max if higher_is_better(metric) else min
    for entry in board:
        rows = [jobs[job_id] for job_id, _ in entry.jobs.values()]
        values = _scores(entry)
        scores = [(score, job_id) for job_id, score in entry.jobs.values() if not math.isnan(score)]
        yield Entry(
            dataset=rows[0].dataset,
            task=rows[0].task,
            rank=next(places) if len(values) == len(rows) else None,
            name=_name(rows[-1]),
            metric=metric,
            n=len(values),
            mean=inference.mean(values),
            std=inference.deviation(values),
            interval=inference.t_interval(values),
            diverged=sum(row.reason == "diverged" for row in rows),
            failed=sum(row.status == "failed" for row in rows),
            studies=tuple(sorted({row.study_id for row in rows if row.study_id is not None})),
            best_job=choose(scores)[1] if scores else None,
        )


def _name(row: RankedJob) -> str:
    """`group · batch_size=8`: a job's name without its seed."""
    return row.name.removesuffix(f" | seed {row.seed}")
