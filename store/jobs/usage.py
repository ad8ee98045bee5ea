"""What each person has used of the machines: seconds of slots, of which half is forgotten in every half-life.

A row of `usage` holds the sum of a person's ended attempts as it was at `as_of`; while it fades nothing is written.
An attempt is added by the transaction that ends it. Until then it counts at its estimate, or at the time that it has
run where that is longer; this part is read from the open attempts, so that there is nothing to give back when an
attempt ends, in whatever way.

People take turns by their use divided by their weight: who has twice the weight gets twice the share.
"""

from collections.abc import Collection
from datetime import UTC, datetime, time
from functools import cache
from typing import Any

from sqlalchemy import (
    CTE,
    ColumnElement,
    Float,
    Insert,
    Select,
    Subquery,
    case,
    cast,
    delete,
    extract,
    func,
    insert,
    literal,
    literal_column,
    select,
    text,
    union_all,
)
from sqlalchemy.dialects import postgresql
from sqlalchemy.orm import Session, aliased

from store.db import HALF_LIFE_SECONDS, Attempt, Deletion, HalfLife, Job, Usage

#: A running attempt counts at least this, where its study has no finished job to tell better.
ASSUMED_SECONDS = 300.0
#: An estimate is the mean of so many of the study's jobs that succeeded last.
RECENT_JOBS = 20
#: Whoever ends an attempt waits until the transaction has ended.
_LOCKED = "LOCK TABLE usage IN SHARE ROW EXCLUSIVE MODE"


def charge(session: Session, job: Job, attempt: Attempt) -> None:
    """Add an attempt that has just ended to its owner's use."""
    assert attempt.ended_at is not None
    seconds = (attempt.ended_at - attempt.started_at).total_seconds() * attempt.slots
    midnight = datetime.combine(attempt.ended_at.astimezone(UTC), time(), UTC)
    today = (attempt.ended_at - max(midnight, attempt.started_at)).total_seconds() * attempt.slots
    values = {"owner_id": job.owner_id, "as_of": attempt.ended_at}
    session.execute(_add(), {**values, "seconds": seconds, "day_seconds": today})


@cache
def _add() -> Insert:
    row = postgresql.insert(Usage)
    # Attempts don't commit in the order of their ends: the sum is as of the latest, and either part fades to it.
    latest = func.greatest(Usage.as_of, row.excluded.as_of)
    total = _faded(Usage.seconds, _seconds_between(Usage.as_of, latest)) + _faded(
        row.excluded.seconds, _seconds_between(row.excluded.as_of, latest)
    )
    today = _of_day(Usage, latest) + _of_day(row.excluded, latest)
    return row.on_conflict_do_update(
        index_elements=[Usage.owner_id],
        set_={"seconds": total, "as_of": latest, "day_seconds": today},
    )


def expected_seconds() -> ColumnElement[float]:
    """How long a job of the statement will run, as far as the finished ones of its study tell."""
    recent = recent_seconds(Job.study_id).correlate(Job).subquery()
    mean = select(func.avg(recent.c.seconds_used)).scalar_subquery()
    return func.coalesce(mean, ASSUMED_SECONDS)


def recent_seconds(study_id: Any) -> Select[float]:
    """`seconds_used` of the jobs of the study that succeeded last, less those that an equal one answered."""
    other = aliased(Job)
    return (
        select(other.seconds_used)
        .where(
            other.study_id == study_id,
            other.status == literal_column("'succeeded'"),
            other.reused_from.is_(None),
        )
        .order_by(other.finished_at.desc())
        .limit(RECENT_JOBS)
    )


@cache
def by_owner() -> CTE:
    """Of everybody who has used or is using a device: `owner_id`, `seconds`, what of them is of open attempts
    (`open_seconds`), how many these are (`running`), and the device-seconds of this day, not faded (`today`)."""
    now = func.statement_timestamp()
    ended = select(
        Usage.owner_id,
        _faded(Usage.seconds, _seconds_between(Usage.as_of, now)).label("ended"),
        literal(0.0, Float).label("open"),
        _of_day(Usage, now).label("today"),
        literal(0).label("running"),
    )
    seconds = func.greatest(_seconds_between(Attempt.started_at, now), Attempt.expected_seconds)
    before = func.greatest(0.0, _seconds_between(Attempt.started_at, _midnight(now)))
    opened = (
        select(
            Job.owner_id,
            literal(0.0, Float),
            seconds * Attempt.slots,
            (seconds - before) * Attempt.slots,
            literal(1),
        )
        .join(Attempt, Attempt.job_id == Job.id)
        .where(Attempt.ended_at.is_(None))
    )
    parts = union_all(ended, opened).subquery("parts")
    return (
        select(
            parts.c.owner_id,
            func.sum(parts.c.ended + parts.c.open).label("seconds"),
            func.sum(parts.c.open).label("open_seconds"),
            func.sum(parts.c.today).label("today"),
            func.sum(parts.c.running).label("running"),
        )
        .group_by(parts.c.owner_id)
        .cte("used")
        # Or a plan that joins it to line after line would add up anew for each.
        .prefix_with("MATERIALIZED")
    )


def half_life(session: Session) -> float:
    """In seconds."""
    return session.scalars(select(_half_life())).one()


def set_half_life(session: Session, seconds: float) -> bool:
    """Sums everybody's use up anew if it is another than before; returns whether it is."""
    session.execute(text(_LOCKED))
    if half_life(session) == seconds:
        return False
    row = postgresql.insert(HalfLife).values(seconds=seconds)
    changed = row.on_conflict_do_update(
        index_elements=[HalfLife.singleton], set_={"seconds": seconds}
    )
    session.execute(changed)
    rebuild(session)
    return True


def drift(session: Session) -> float:
    """The largest relative difference between a person's kept use and the sum over all of their attempts."""
    now = func.statement_timestamp()
    kept = select(
        Usage.owner_id,
        _faded(Usage.seconds, _seconds_between(Usage.as_of, now)).label("seconds"),
        _of_day(Usage, now).label("day_seconds"),
    ).subquery("kept")
    summed = _summed(now).subquery("summed")
    both = kept.join(summed, kept.c.owner_id == summed.c.owner_id, full=True)
    relative = (
        func.max(_difference(kept.c[name], summed.c[name])) for name in ("seconds", "day_seconds")
    )
    largest = session.execute(select(*relative).select_from(both)).one()
    return max(float(one or 0.0) for one in largest)


def _difference(kept: ColumnElement[float], summed: ColumnElement[float]) -> ColumnElement[float]:
    one, other = func.coalesce(kept, 0.0), func.coalesce(summed, 0.0)
    # Seconds below one are noise: relative to them nothing would ever be equal.
    return cast(func.abs(one - other) / func.greatest(one, other, 1.0), Float)


def rebuild(session: Session) -> None:
    """Sum up everybody's use anew; whoever ends an attempt waits until this transaction has ended."""
    session.execute(text(_LOCKED))
    session.execute(delete(Usage))
    now = func.statement_timestamp()
    summed = _summed(now).add_columns(now)
    columns = ["owner_id", "seconds", "day_seconds", "as_of"]
    session.execute(insert(Usage).from_select(columns, summed))


def of_jobs(job_ids: Collection[int]) -> Subquery:
    """By job (`job_id`), what its attempts used: `seconds` and `day_seconds`, as of this statement."""
    seconds, day_seconds = _of_attempts(func.statement_timestamp())
    return (
        select(Attempt.job_id, seconds, day_seconds)
        .where(Attempt.job_id.in_(job_ids), Attempt.ended_at.is_not(None))
        .group_by(Attempt.job_id)
        .subquery("used")
    )


def _summed(now: ColumnElement[Any]) -> Select[int, float, float]:
    """Over the attempts of all jobs, and what is left of those that were deleted."""
    trained = (
        select(Job.owner_id, *_of_attempts(now))
        .join(Attempt, Attempt.job_id == Job.id)
        .where(Attempt.ended_at.is_not(None))
        .group_by(Job.owner_id)
    )
    today = case((Deletion.at >= _midnight(now), Deletion.day_seconds), else_=0.0)
    deleted = select(
        Deletion.owner_id, _faded(Deletion.seconds, _seconds_between(Deletion.at, now)), today
    ).where(Deletion.seconds > 0)
    parts = union_all(trained, deleted).subquery("parts")
    return select(
        parts.c.owner_id,
        func.sum(parts.c.seconds).label("seconds"),
        func.sum(parts.c.day_seconds).label("day_seconds"),
    ).group_by(parts.c.owner_id)


def _of_attempts(now: ColumnElement[Any]) -> tuple[ColumnElement[float], ColumnElement[float]]:
    """Sums over ended attempts: faded, and of this day."""
    used = _seconds_between(Attempt.started_at, Attempt.ended_at) * Attempt.slots
    faded = _faded(used, _seconds_between(Attempt.ended_at, now))
    start = func.greatest(Attempt.started_at, _midnight(now))
    today = func.greatest(0.0, _seconds_between(start, Attempt.ended_at)) * Attempt.slots
    return func.sum(faded).label("seconds"), func.sum(today).label("day_seconds")


def _faded(seconds: Any, age: ColumnElement[float]) -> ColumnElement[float]:
    # At most a thousand halvings: power() raises an error where the result is too small for a float.
    halvings = func.least(age / _half_life(), 1000.0)
    return cast(seconds * func.power(0.5, halvings), Float)


def _of_day(row: Any, moment: Any) -> ColumnElement[float]:
    """What the row has of the day of this moment."""
    return case((row.as_of >= _midnight(moment), row.day_seconds), else_=0.0)


def _midnight(moment: Any) -> ColumnElement[datetime]:
    """At which the day of the moment began, in UTC: a day is the same for all, wherever they are."""
    return func.date_trunc("day", moment, "UTC")


def _half_life() -> ColumnElement[float]:
    # A subquery of its own: PostgreSQL reads the row once in a statement.
    seconds = select(HalfLife.seconds).correlate(None).scalar_subquery()
    return func.coalesce(seconds, HALF_LIFE_SECONDS)


def _seconds_between(earlier: Any, later: Any) -> ColumnElement[float]:
    return cast(extract("epoch", later - earlier), Float)
