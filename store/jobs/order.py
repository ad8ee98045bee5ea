"""The order of the queue: whose job is next.

Fair means: the higher priority class first, raised by one for every `AGING_SECONDS` of waiting; then
the person who has used the machines least for their weight (`usage`); then age. Within one person's jobs of one
class this is age alone, so that the whole order is a merge of a few lines, each of which an index holds in order: what
comes first is found at their heads, however long they are and however many jobs have ended. Jobs of people who have
reached a limit (`limits`) don't start.
"""

from collections.abc import Collection
from typing import Any

from sqlalchemy import (
    ColumnElement,
    Float,
    FromClause,
    Integer,
    Select,
    Subquery,
    and_,
    case,
    cast,
    extract,
    false,
    func,
    literal,
    literal_column,
    select,
    true,
    tuple_,
)

from store.db import IN_LINE, PRIORITIES, Job, User
from store.jobs import limits, usage

AGING_SECONDS = 3600.0


def in_turns(most: ColumnElement[int]) -> Select[int, str | None, int]:
    """The jobs with the limit that holds them back (those come last) and their place; `most`: of each line.

    A job that starts adds to its owner's use, so that the next of that owner comes after those of others. It adds what
    jobs of its study took: the claim, which takes one job, needs no such forecast.
    """
    first = in_order(lines(), limit=most, with_held_back=True).subquery("listed")
    studies = select(first.c.study_id).distinct().subquery("studies")
    recent = usage.recent_seconds(studies.c.study_id).lateral("recent")
    usual = (
        select(studies.c.study_id, func.avg(recent.c.seconds_used).label("seconds"))
        .select_from(studies)
        .join(recent, true())
        .group_by(studies.c.study_id)
        .subquery("usual")
    )
    seconds = func.coalesce(usual.c.seconds, usage.ASSUMED_SECONDS) * first.c.devices
    own_order = (first.c.priority.desc(), first.c.queued_at, first.c.id)
    before = func.sum(seconds / first.c.weight).over(
        partition_by=first.c.owner_id, order_by=own_order, rows=(None, -1)
    )
    listed = (
        select(first, (first.c.used + func.coalesce(before, 0.0)).label("turn"))
        .outerjoin(usual, usual.c.study_id == first.c.study_id)
        .subquery("in_turns")
    )
    order = (
        listed.c.reached.is_not(None),
        listed.c.priority.desc(),
        listed.c.turn,
        listed.c.queued_at,
        listed.c.id,
    )
    place = func.row_number().over(order_by=order).label("place")
    return select(listed.c.id, listed.c.reached, place).order_by(place)


def lines(devices: Collection[str] = ("auto", "cpu", "cuda")) -> Subquery:
    """Each person, class and kind of device of which there are queued jobs."""
    columns = (Job.owner_id, Job.priority, Job.device)
    # Each row is looked up in the index beyond the one before. To read it as a whole (DISTINCT) would take as
    # long as the queue is.
    line = (
        select(*columns)
        .where(IN_LINE)
        .order_by(*columns)
        .limit(literal_column("1"))
        # Without a name: one statement may have several.
        .cte(recursive=True)
    )
    following = (
        select(*columns)
        .where(IN_LINE, tuple_(*columns) > tuple_(*line.c))
        .order_by(*columns)
        .limit(literal_column("1"))
        .correlate(line)
        .lateral("following")
    )
    line = line.union_all(select(*following.c).select_from(line).join(following, true()))
    return select(line).where(line.c.device.in_(devices)).subquery("lines")


def in_order(
    lines: Subquery,
    *conditions: ColumnElement[bool],
    limit: int | ColumnElement[int],
    with_held_back: bool = False,
    looked_at: tuple[ColumnElement[bool], int] | None = None,
) -> Select[int, *tuple[Any, ...]]:
    """The jobs that meet the conditions, the fairest first; `limit`: of each line; `with_held_back`: also the jobs of
    people who have reached a limit, with its name. `looked_at`: one more condition, for which only so many jobs of each
    line that meet the others are looked at."""
    lines = _with_owners(lines)
    jobs = (
        select(Job.id, Job.queued_at, Job.study_id, Job.devices)
        .where(
            # A line of somebody who has reached a limit is not even looked into.
            true() if with_held_back else lines.c.reached.is_(None),
            IN_LINE,
            Job.owner_id == lines.c.owner_id,
            Job.priority == lines.c.priority,
            Job.device == lines.c.device,
            # In a CASE, of which the planner supposes that it holds for every second row. If it thought that it
            # held for hardly any it would read and sort the whole line instead of walking along the index.
            case((and_(true(), *conditions), true()), else_=false()),
        )
        .order_by(Job.queued_at, Job.id)
        .correlate(lines)
    )
    head = (
        jobs.limit(limit).lateral("head")
        if looked_at is None
        else _first_of(jobs, *looked_at, limit=limit)
    )
    # Waiting raises a job's class step by step up to the highest, so that none is passed over for ever.
    waited_classes = func.floor(seconds_since(head.c.queued_at) / AGING_SECONDS)
    highest = literal(len(PRIORITIES) - 1)
    priority = func.least(highest, lines.c.priority + waited_classes).label("priority")
    # Within a class the owner who has used least goes first, then the job that has waited longest; the id
    # makes the order total.
    return (
        select(
            head.c.id,
            priority,
            *(lines.c[name] for name in ("used", "weight", "reached", "owner_id")),
            *(head.c[name] for name in ("queued_at", "study_id", "devices")),
        )
        .select_from(lines)
        .join(head, true())
        .order_by(priority.desc(), lines.c.used, head.c.queued_at, head.c.id)
    )


def _first_of(
    jobs: Select[*tuple[Any, ...]], condition: ColumnElement[bool], most: int, *, limit: Any
) -> FromClause:
    """Of the first `most` of a line's jobs those that meet the condition, which is tried on one after the other."""
    looked_at = (
        jobs.add_columns(condition.label("is_met"))
        .limit(literal_column(str(most), Integer))
        .subquery("looked_at")
    )
    columns = (looked_at.c[name] for name in ("id", "queued_at", "study_id", "devices"))
    return (
        select(*columns)
        .where(looked_at.c.is_met)
        .order_by(looked_at.c.queued_at, looked_at.c.id)
        .limit(limit)
        .lateral("head")
    )


def _with_owners(lines: Subquery) -> Subquery:
    """With what their owners have used for their weight, and the limit that they have reached (None: none)."""
    used = usage.by_owner()
    weighted = func.coalesce(used.c.seconds, 0.0) / User.weight
    statement = select(
        *lines.c, User.weight, weighted.label("used"), limits.reached(used).label("reached")
    )
    statement = statement.select_from(lines).join(User, User.id == lines.c.owner_id)
    return (
        limits.joined(statement)
        .outerjoin(used, used.c.owner_id == lines.c.owner_id)
        .subquery("owned")
    )


def raise_class(priority: int, waited_seconds: float) -> int:
    """The class of a job that has waited for so long."""
    return min(len(PRIORITIES) - 1, priority + int(max(0.0, waited_seconds) // AGING_SECONDS))


def seconds_since(moment: Any) -> ColumnElement[float]:
    # One clock for all rows of the statement, or rows read later would look fresher than their peers.
    return cast(extract("epoch", func.statement_timestamp() - moment), Float)
