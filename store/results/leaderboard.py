"""The jobs that a leaderboard ranks, with the digests that group them."""

import struct
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from sqlalchemy import (
    ARRAY,
    BigInteger,
    ColumnElement,
    LargeBinary,
    Uuid,
    case,
    cast,
    func,
    literal,
    select,
)
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import Session

from store.db import FINAL_STATUSES, Dataset, Job, Project, Result, Study
from store.query import Field, sql
from store.results.groups import score_of
from store.results.result_rows import joined

#: A job, its seed and its score, as PostgreSQL sends them.
_JOB = struct.Struct(">qqd")
_NO_SCORE = struct.pack(">d", float("nan"))


@dataclass(frozen=True, slots=True)
class RankedEntry:
    """The jobs of one spec, whoever trained it: of each seed the newest, by seed its id and score (NaN: none).

    `board`: equal where data and task are; `first` and `newest`: of all its jobs, older ones of a seed, too.
    """

    board: tuple[int, UUID]
    first: int
    newest: int
    jobs: Mapping[int, tuple[int, float]]


@dataclass(frozen=True, slots=True)
class RankedJob:
    """A job that takes part in a leaderboard.

    `dataset`, `task`: those parts of the spec, the split's seed left out where splits are resampled.
    """

    job_id: int
    study_id: int | None
    name: str
    seed: int
    status: str
    reason: str | None
    metrics: Mapping[str, float | None]
    facts: Mapping[str, Any] | None
    dataset: dict[str, Any]
    task: dict[str, Any]


def read_entries(
    session: Session, metric: Field, *, project: str | None = None, dataset: str | None = None
) -> Sequence[RankedEntry]:
    """Of the jobs that have ended (not by being cancelled) and aren't archived, the oldest entry first."""
    resampled = _is_resampled()
    board = case((resampled, Result.resampled_board), else_=Result.board)
    entry = case(
        (_begins_from_pretraining(), _ARM), (resampled, Result.resampled_entry), else_=Result.entry
    )
    numbers = _send("int8send", Result.job_id).op("||")(_send("int8send", Result.seed))
    score = func.coalesce(_send("float8send", score_of(metric)), literal(_NO_SCORE, LargeBinary))
    jobs = func.string_agg(numbers.op("||")(score), literal(b"", LargeBinary))
    first = func.min(Result.job_id)
    statement = (
        joined(Result.dataset_id, board, first, func.max(Result.job_id), jobs)
        .where(
            Result.status.in_(FINAL_STATUSES),
            Result.status != "cancelled",
            ~sql.is_archived(),
            ~Result.is_trial,
        )
        .group_by(Result.dataset_id, board, entry)
        .order_by(first)
    )
    if project is not None:
        statement = statement.where(Project.name == project)
    if dataset is not None:
        named = select(Dataset.id).where(Dataset.name == dataset)
        statement = statement.where(Result.dataset_id.in_(named))
    return [
        RankedEntry((dataset_id, board), oldest, newest, _newest_by_seed(packed))
        for dataset_id, board, oldest, newest, packed in session.execute(statement)
    ]


def read_jobs(session: Session, job_ids: Collection[int]) -> Mapping[int, RankedJob]:
    """By id."""
    cut = Job.spec["dataset"].op("-", return_type=JSONB())("split_seed")
    # One parameter, however many jobs: a statement takes at most 65,535.
    shown = func.unnest(cast(list(job_ids), ARRAY(BigInteger))).column_valued("shown")
    statement = joined(
        Result.job_id,
        Result.study_id,
        Result.name,
        Result.seed,
        Result.status,
        Result.reason,
        Job.metrics,
        Job.facts,
        case((_is_resampled(), cut), else_=Job.spec["dataset"]).label("dataset"),
        Job.spec["task"].label("task"),
    ).where(Result.job_id.in_(select(shown)))
    return {row["job_id"]: RankedJob(**row) for row in session.execute(statement).mappings()}


def _is_resampled() -> ColumnElement[bool]:
    # Where the seed cuts the data, the cut is no other entry and no other board. Asked once for each study, not for
    # each of its jobs.
    resampled = select(Study.id).where(Study.spec["splits"].astext == "resampled")
    return Result.study_id.in_(resampled.correlate(None))


def _begins_from_pretraining() -> ColumnElement[bool]:
    pretrained = select(Study.id).where(Study.spec["pretrain"].astext.is_not(None))
    return Result.study_id.in_(pretrained.correlate(None))


# Their specs differ in the job that they begin from, by the seed: what they have in common is the study and the name.
_ARM = cast(
    func.md5(func.concat(Result.study_id, " ", func.split_part(Result.name, " | seed ", 1))), Uuid
)


def _send(name: str, value: Any) -> ColumnElement[bytes]:
    sent: ColumnElement[bytes] = getattr(func, name)(value, type_=LargeBinary)
    return sent


def _newest_by_seed(packed: bytes) -> dict[int, tuple[int, float]]:
    # The same spec trained twice at a seed gives the same result; counted twice it would shrink the interval for
    # nothing. In the order of the jobs, in which a seed stands where it was first.
    jobs: dict[int, tuple[int, float]] = {}
    for job_id, seed, score in sorted(_JOB.iter_unpack(packed)):
        jobs[seed] = (job_id, score)
    return jobs
