"""Figures for a monitoring system, all of them read by one statement."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import (
    ARRAY,
    ColumnElement,
    Double,
    Select,
    Text,
    case,
    cast,
    func,
    literal,
    literal_column,
    select,
    union,
    union_all,
)
from sqlalchemy.dialects.postgresql import array
from sqlalchemy.orm import Session

from store.db import (
    IN_LINE,
    PRIORITIES,
    Attempt,
    Device,
    Epoch,
    Job,
    Lease,
    Mirrored,
    MirrorProblem,
    User,
    Worker,
)
from store.hosts import booked_bytes
from store.mlflow import mirror_problems

#: The mirror's lag is that of the newest jobs that have started and of those that run: a search through all there ever were would cost
#: more with each.
NEWEST_JOBS = 2_000

#: Among the ends of attempts: however they ended.
ANY = "any"

_RUNNING = Job.status == literal_column("'running'")
_PRIORITY = case(dict(enumerate(PRIORITIES)), value=Job.priority)


@dataclass(frozen=True, slots=True)
class Figures:
    """The figures of one subject, in the order in which its group's query has them; None: not measured."""

    group: str
    labels: tuple[str, ...]
    values: tuple[float | None, ...]


def read_figures(session: Session) -> Sequence[Figures]:
    """By group: `queue`, `running`, `attempts`, `devices`, `workers`, `steps`, `leases`, `mirror`, `mirror_problems`."""
    queries = (
        _queue(), _running(), _attempts(), _devices(), _workers(), _steps(), _leases(), _mirror(), _mirror_problems(),
    )  # fmt: skip
    rows = session.execute(union_all(*queries))
    return [Figures(group, tuple(labels), tuple(values)) for group, labels, values in rows]


def _queue() -> Select[Any]:
    """Jobs in line for a device by person and priority, and how long the oldest has waited."""
    age = _seconds_since(func.min(Job.queued_at))
    query = _figures("queue", [User.name, _PRIORITY], [func.count(), age])
    return (
        query.select_from(Job)
        .join(User, User.id == Job.owner_id)
        .where(IN_LINE)
        .group_by(User.name, Job.priority)
    )


def _running() -> Select[Any]:
    query = _figures("running", [User.name, _PRIORITY], [func.count()])
    return (
        query.select_from(Job)
        .join(User, User.id == Job.owner_id)
        .where(_RUNNING)
        .group_by(User.name, Job.priority)
    )


def _attempts() -> Select[Any]:
    """By how they ended; `ANY`: all, also those that have not."""
    end = case((func.grouping(Attempt.end) == 1, ANY), else_=Attempt.end)
    query = _figures("attempts", [end], [func.count()])
    # No row for those without an end by themselves.
    is_shown = (func.grouping(Attempt.end) == 1) | Attempt.end.is_not(None)
    return query.group_by(func.rollup(Attempt.end)).having(is_shown)


def _devices() -> Select[Any]:
    """Slots, those in use, and bytes of memory: all, booked by our jobs, used by our jobs, used by others."""
    held, used = (
        select(one).where(Lease.device_id == Device.id).correlate(Device).scalar_subquery()
        for one in (func.count(), func.sum(Lease.used_bytes))
    )
    is_measured = Device.memory_bytes.is_not(None)
    memory = [
        Device.memory_bytes,
        case((is_measured, booked_bytes())),
        case((is_measured, func.coalesce(used, 0))),
        Device.foreign_bytes,
    ]
    labels = [Device.host, func.concat(Device.kind, ":", Device.number)]
    return _figures("devices", labels, [Device.slots, held, *memory]).where(Device.slots > 0)


def _workers() -> Select[Any]:
    """Seconds since each was seen, and whether it drains; not those that have ended by themselves."""
    draining = case((Worker.draining, 1), else_=0)
    query = _figures("workers", [Worker.host], [_seconds_since(Worker.seen_at), draining])
    return query.where(Worker.ended_at.is_(None))


def _steps() -> Select[Any]:
    """Seconds per step of the running attempts on each host, on average."""
    mean = func.sum(Attempt.seconds) / func.sum(Job.step - Attempt.first_step)
    query = _figures("steps", [Attempt.host], [mean])
    joined = query.select_from(Job).join(
        Attempt, (Attempt.job_id == Job.id) & (Attempt.number == Job.attempt)
    )
    has_begun = (Job.step > Attempt.first_step) & (Attempt.seconds > 0)
    return joined.where(_RUNNING, has_begun).group_by(Attempt.host)


def _leases() -> Select[Any]:
    """How many ran out and were not released: the sweep does that."""
    query = _figures("leases", [], [func.count()]).select_from(Lease)
    return query.where(Lease.expires_at < func.clock_timestamp())


def _mirror() -> Select[Any]:
    """How old the oldest change is that MLflow lacks; 0 where it has all. What it refused is a problem, and no lag."""
    # By their first attempts: behind the jobs that have started any number may be queued, with higher ids.
    started = select(Attempt.job_id).where(Attempt.number == 1)
    newest = started.order_by(Attempt.job_id.desc()).limit(NEWEST_JOBS).subquery()
    looked_at = union(select(newest.c.job_id), select(Job.id).where(_RUNNING)).subquery()
    unsent = (
        select(func.min(Epoch.recorded_at))
        .where(Epoch.job_id == Job.id, Epoch.epoch > func.coalesce(Mirrored.epoch, 0))
        .correlate(Job, Mirrored)
        .scalar_subquery()
    )
    # A job that runs changes all the time: its first epoch that is not there says since when.
    since = func.min(func.least(Job.changed_at, unsent))
    return (
        _figures("mirror", [], [func.coalesce(_seconds_since(since), 0.0)])
        .select_from(looked_at)
        .join(Job, Job.id == looked_at.c.job_id)
        .outerjoin(Mirrored, Mirrored.job_id == Job.id)
        .where(
            Job.kind == "training",
            Mirrored.seen_at.is_distinct_from(Job.changed_at),
            ~mirror_problems.is_held_back("run", (MirrorProblem.job_id, Job.id)),
        )
    )


def _mirror_problems() -> Select[Any]:
    query = _figures("mirror_problems", [MirrorProblem.kind], [func.count()])
    return query.group_by(MirrorProblem.kind)


def _figures(group: str, labels: Sequence[Any], values: Sequence[Any]) -> Select[Any]:
    numbers = array([cast(one, Double) for one in values])
    return select(
        literal(group), cast(array(labels, type_=Text), ARRAY(Text)), cast(numbers, ARRAY(Double))
    )


def _seconds_since(moment: Any) -> ColumnElement[Any]:
    """Not below 0: what is written meanwhile is newer than the statement."""
    return func.greatest(func.extract("epoch", func.clock_timestamp() - moment), 0.0)
