"""What finished trainings of the same shape took: time, storage and memory.

A shape (the SQL function `shape_of`) is all of a spec that decides how long a step takes: model, norm, data, batch,
regularizers, evaluations; not its seed, schedule, learning rate, early stopping or length.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import (
    JSON,
    BigInteger,
    ColumnElement,
    bindparam,
    column,
    func,
    literal_column,
    select,
    true,
)
from sqlalchemy.dialects.postgresql import JSONB, array
from sqlalchemy.orm import Session

from store.db import Attempt, Checkpoint, Epoch, File, Job

#: Of each shape so many are looked at, the latest: machines change.
_MOST = 20
#: By so many of the latest jobs that had a bill the usual error is told.
_BILLED = 200


@dataclass(frozen=True, slots=True)
class Taken:
    """What a finished training took; `is_same`: but for its seed it is what was asked for; `period_seconds`: of its
    evaluation periods, start and end aside; `memory_bytes`: its process's, or its GPU's, at most."""

    device: str | None
    is_same: bool
    step: int
    total_steps: int
    seconds: float
    period_seconds: float
    stored_bytes: int
    memory_bytes: int | None


def read_taken(session: Session, specs: Sequence[Mapping[str, Any]]) -> list[list[Taken]]:
    """For each spec, the latest first."""
    asked = (
        func.json_to_recordset(bindparam("specs", type_=JSON))
        .table_valued(column("place", BigInteger), column("spec", JSONB), name="asked")
        .render_derived(with_types=True)
    )
    latest = (
        select(Job.id, Job.spec, Job.numerics, Job.step, Job.total_steps, Job.seconds_used)
        .where(
            func.shape_of(Job.spec) == func.shape_of(asked.c.spec),
            *_is_trained(),
        )
        .order_by(Job.id.desc())
        .limit(_MOST)
        .correlate(asked)
        .lateral("latest")
    )
    statement = select(
        asked.c.place,
        latest.c.numerics["device"].astext,
        _without_seed(latest.c.spec) == _without_seed(asked.c.spec),
        latest.c.step,
        func.coalesce(latest.c.total_steps, latest.c.step),
        latest.c.seconds_used,
        _sum(Epoch.seconds, Epoch.job_id == latest.c.id),
        _sum(Checkpoint.bytes, Checkpoint.job_id == latest.c.id)
        + _sum(File.bytes, File.job_id == latest.c.id),
        select(func.max(Attempt.memory_bytes))
        .where(Attempt.job_id == latest.c.id)
        .scalar_subquery(),
    ).join(latest, true())
    taken: list[list[Taken]] = [[] for _ in specs]
    rows = [{"place": place, "spec": spec} for place, spec in enumerate(specs)]
    for place, device, same, step, total, seconds, periods, stored, memory in session.execute(
        statement.order_by(asked.c.place, latest.c.id.desc()), {"specs": rows}
    ):
        one = Taken(device, same, step, total, seconds, float(periods), int(stored), memory)
        taken[place].append(one)
    return taken


def _without_seed(spec: ColumnElement[Any]) -> ColumnElement[Any]:
    """What all jobs of an arm have in common."""
    rest = spec.op("-")(array(["seed", "project", "resources"]))
    without: ColumnElement[Any] = rest.op("#-", return_type=JSONB())(
        array(["dataset", "split_seed"])
    )
    return without


def _sum(value: Any, condition: ColumnElement[bool]) -> ColumnElement[Any]:
    return func.coalesce(select(func.sum(value)).where(condition).scalar_subquery(), 0)


def usual_error(session: Session) -> float | None:
    """The median of how far expectation and training were apart, as a share of the training; None without any."""
    latest = (
        select(Job.seconds_used, Job.expected_seconds)
        .where(*_is_trained(), Job.expected_seconds.is_not(None), Job.seconds_used > 0)
        .order_by(Job.id.desc())
        .limit(_BILLED)
        .subquery("latest")
    )
    error = func.abs(latest.c.expected_seconds / latest.c.seconds_used - 1.0)
    found: float | None = session.scalar(select(func.percentile_cont(0.5).within_group(error)))
    return found


def _is_trained() -> Sequence[ColumnElement[bool]]:
    # Written into the statement, so that a plan for any value uses the partial indexes.
    return (
        Job.status == literal_column("'succeeded'"),
        Job.reused_from.is_(None),
        Job.kind == literal_column("'training'"),
    )
