"""Results in groups of equal values, counted and with their scores, read in one pass over narrow rows."""

from array import array
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import ColumnElement, LargeBinary, case, func, literal
from sqlalchemy.orm import Session

from store.db import FINAL_STATUSES, Result
from store.query import Field, sql
from store.results.columns import Column, named, numbered
from store.results.result_rows import joined


@dataclass(frozen=True, slots=True)
class ResultGroup:
    """Jobs with equal values `by`; `scores` are those of the jobs that have one, the newest job's first; `seeds`: theirs.

    A diverged job without a value has the score of guessing; `pending`: neither finished nor failed.
    """

    by: dict[str, Any]
    jobs: int
    scores: Sequence[float]
    seeds: Sequence[int]
    diverged: int
    failed: int
    cancelled: int
    pending: int


def read_groups(
    session: Session,
    *,
    condition: ColumnElement[bool],
    by: Sequence[Column],
    metric: Field,
    limit: int | None = None,
) -> list[ResultGroup]:
    """The results that meet the condition, grouped; the group with the newest job first, and no more than `limit`."""
    # The binary digits themselves: statistics are added exactly from them, and 100,000 scores are one value to
    # send instead of as many rows. Each with its job, since to sort them here would take longer than to read them.
    score = func.float8send(score_of(metric), type_=LargeBinary)
    job, seed = (func.int8send(one, type_=LargeBinary) for one in (Result.job_id, Result.seed))
    scores = func.string_agg(job.op("||")(seed).op("||")(score), literal(b"", LargeBinary))
    groups = (
        joined(
            func.max(Result.job_id).label("newest"),
            func.count().label("jobs"),
            scores.label("scores"),
            _count(Result.reason == "diverged").label("diverged"),
            _count(Result.status == "failed").label("failed"),
            _count(Result.status == "cancelled").label("cancelled"),
            _count(Result.status.not_in(FINAL_STATUSES)).label("pending"),
        )
        .where(condition)
        .group_by(*(column.key for column in by))
        .subquery("groups")
    )
    # What a group's values look like is read from its newest job: those of the keys may be written differently.
    statement = (
        joined(groups, *numbered(by))
        .join(groups, groups.c.newest == Result.job_id)
        .order_by(groups.c.newest.desc())
        .limit(limit)
    )
    return [_read_group(dict(row), by) for row in session.execute(statement).mappings()]


def _read_group(row: Mapping[str, Any], by: Sequence[Column]) -> ResultGroup:
    scores, seeds = _unpack(row["scores"])
    return ResultGroup(
        by=named(row, by),
        jobs=row["jobs"],
        scores=scores,
        seeds=seeds,
        diverged=row["diverged"],
        failed=row["failed"],
        cancelled=row["cancelled"],
        pending=row["pending"],
    )


def score_of(metric: Field) -> ColumnElement[Any]:
    """What a job counts with, as `studies.stats.score` says; NULL if it has none."""
    chance = sql.chance_of(metric.name.rpartition("_")[2])
    guessed = case((Result.reason == "diverged", chance))
    return case((Result.status == "succeeded", func.coalesce(sql.key_of(metric), guessed)))


def _count(condition: ColumnElement[bool]) -> ColumnElement[int]:
    return func.count().filter(condition)


def _unpack(scores: bytes | None) -> tuple[Sequence[float], Sequence[int]]:
    """Scores and seeds, newest first: sums that aren't exact depend on the order in their last digit."""
    import numpy as np

    jobs = np.frombuffer(scores or b"", [("job_id", ">i8"), ("seed", ">i8"), ("score", ">f8")])
    order = np.argsort(jobs["job_id"].astype(np.int64), kind="stable")[::-1]
    values = array("d", jobs["score"].astype(np.float64)[order].tobytes())
    return values, array("q", jobs["seed"].astype(np.int64)[order].tobytes())
