"""Jobs that are compared side by side, wherever they were submitted: all that pairs and scores rest on."""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

from sqlalchemy import ARRAY, BigInteger, ColumnElement, Text, cast, func, select
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import Session

from store.db import BadQuery, Job, Result, Study
from store.query import sql
from store.results.columns import SPEC_WITHOUT_SEED, Column, named, numbered
from store.results.result_rows import joined


@dataclass(frozen=True, slots=True)
class ComparedJob:
    """A training job; `by`: its values of the fields that were asked for.

    `spec` is without its seed, so that the jobs of an arm share it. `declared`: what its variant changes in the base of
    its study, `tuned`: what that study tuned, by dotted path; both None without a study. `environment`: what the last
    attempt that started ran in.
    """

    job_id: int
    study_id: int | None
    variant: str | None
    point: Mapping[str, Any]
    seed: int
    status: str
    reason: str | None
    metrics: Mapping[str, float | None]
    spec: Mapping[str, Any]
    facts: Mapping[str, Any] | None
    environment: Mapping[str, Any] | None
    declared: Mapping[str, Any] | None
    tuned: Mapping[str, Any] | None
    by: Mapping[str, Any]


_COLUMNS: Mapping[str, Any] = {
    "job_id": Result.job_id,
    "study_id": Result.study_id,
    "variant": Result.variant,
    "seed": Result.seed,
    "status": Result.status,
    "reason": Result.reason,
    "metrics": Job.metrics,
}
#: Documents that are the same of many jobs.
_SHARED: Mapping[str, Any] = {
    "spec": SPEC_WITHOUT_SEED.expression,
    "point": Job.point,
    "facts": Job.facts,
    "environment": sql.environment(),
    "declared": Study.spec["variants"].op("->", return_type=JSONB())(Result.variant),
    "tuned": func.coalesce(Study.spec[("tune", "settings")], Study.spec[("search", "space")]),
}


def read_compared(
    session: Session, condition: ColumnElement[bool], by: Sequence[Column], most: int
) -> list[ComparedJob]:
    """In the order in which they were made. Raises BadQuery where there are more than `most`."""
    # Which ones is read from the narrow rows first: that they are too many is known before any document is read.
    ids = session.scalars(joined(Result.job_id).where(condition).limit(most + 1)).all()
    if len(ids) > most:
        detail = f"there are more than {most} jobs, too many to be compared side by side: narrow the query"
        raise BadQuery(detail, 0)
    # One parameter, however many jobs: a statement takes at most 65,535.
    chosen = func.unnest(cast(list(ids), ARRAY(BigInteger))).column_valued("chosen")
    columns = [column.label(name) for name, column in _COLUMNS.items()]
    columns += [cast(column, Text).label(name) for name, column in _SHARED.items()]
    statement = (
        joined(*columns, *numbered(by))
        .where(Result.job_id.in_(select(chosen)))
        .order_by(Result.job_id)
    )
    # Each is read once: of a thousand jobs their environment may be one.
    read: Callable[[str | None], Any] = cache(
        lambda text: None if text is None else json.loads(text)
    )
    return [
        ComparedJob(
            **{name: row[name] for name in _COLUMNS},
            **{name: read(row[name]) for name in _SHARED},
            by=named(dict(row), by),
        )
        for row in session.execute(statement).mappings()
    ]
