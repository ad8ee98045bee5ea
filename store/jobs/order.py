"""The order of the queue: whose job is next.

Fair means: the higher priority class first, raised by one for every `AGING_SECONDS` of waiting; then
the person who has used the machines least for their weight (`usage`); then age. Within one person's jobs of one
class this is age alone, so that the whole order is a merge of a few lines, each of which an index holds in order: what
comes first is found at their heads, however long they are and however many jobs have ended. All jobs of a line need the
same: either its head fits into what is free, or none does. Jobs of people who have reached a limit (`limits`) don't start.
"""

from collections.abc import Collection, Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import (
    ColumnElement,
    DateTime,
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
    union,
)

from store.db import IN_LINE, PRIORITIES, Job, User
from store.jobs import limits, usage

AGING_SECONDS = 3600.0
#: What a job asks for of kinds of device.
DEVICES = ("auto", "cpu", "cuda")
#: Of the jobs of a line: a search may give each its own.
MOST_SHAPES = 20
#: What all jobs of a line have in common.
_LINE = (Job.owner_id, Job.priority, Job.device, Job.devices, Job.exclusive)
_ONE = literal_column("1", Integer)
#: Before and after all times.
EARLIEST, LATEST = (
    literal_column(f"'{word}'::timestamptz", DateTime(timezone=True))
    for word in ("-infinity", "infinity")
)


def in_turns(most: ColumnElement[int]) -> Select[int, str | None, int]:
    """The jobs with the limit that holds them back (those come last) and their place; `most`: of each line.

    A job that starts adds to its owner's use, so that the next of that owner comes after those of others. It adds what
    jobs of its study took: the claim, which takes one job, needs no such forecast.
    """
    first = in_order(with_owners(lines()), limit=most, with_held_back=True).subquery("listed")
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


def lines(devices: Collection[str] = DEVICES) -> Subquery:
    """Each person, class, kind and number of devices, and whether whole ones, of which there are queued jobs."""
    # Each row is looked up in the index beyond the one before. To read it as a whole (DISTINCT) would take as
    # long as the queue is.
    line = (
        select(*_LINE)
        .where(IN_LINE)
        .order_by(*_LINE)
        .limit(_ONE)
        # Without a name: one statement may have several.
        .cte(recursive=True)
    )
    following = (
        select(*_LINE)
        .where(IN_LINE, tuple_(*_LINE) > tuple_(*line.c))
        .order_by(*_LINE)
        .limit(_ONE)
        .correlate(line)
        .lateral("following")
    )
    line = line.union_all(select(*following.c).select_from(line).join(following, true()))
    return select(line).where(line.c.device.in_(devices)).subquery("lines")


def lines_by_shape(devices: Collection[str]) -> Subquery:
    """The same with each shape of a line's jobs, by which they share the memory of GPUs: at most `MOST_SHAPES` of a
    line, and that of its first job."""
    columns = (*_LINE, Job.shape)
    start = select(*columns).where(IN_LINE).order_by(*columns).limit(_ONE).subquery("start")
    line = select(*start.c, _ONE.label("place")).cte(recursive=True)
    need = [line.c[column.name] for column in _LINE]
    # All shapes come before this one: they are written in hexadecimal digits.
    shape = case((line.c.place < MOST_SHAPES, line.c.shape), else_="z")
    following = (
        select(*columns)
        .where(IN_LINE, tuple_(*columns) > tuple_(*need, shape))
        .order_by(*columns)
        .limit(_ONE)
        .correlate(line)
        .lateral("following")
    )
    is_of_line = and_(*(following.c[one.name] == one for one in need))
    place = case((is_of_line, line.c.place + 1), else_=1).label("place")
    line = line.union_all(select(*following.c, place).select_from(line).join(following, true()))
    found = select(*(line.c[column.name] for column in columns)).where(line.c.device.in_(devices))
    return union(found, _shapes_of_first(devices)).subquery("lines")


def _shapes_of_first(devices: Collection[str]) -> Select[*tuple[Any, ...]]:
    whole = lines(devices)
    # Its id first, which both indexes have, so that it is looked up in the one that is in this order. For the shape, which
    # only the other has, the whole line would be read there and sorted.
    first = select(Job.id).where(IN_LINE, *_is_in(whole)).order_by(Job.queued_at, Job.id)
    of_first = select(Job.shape).where(
        Job.id == first.limit(_ONE).correlate(whole).scalar_subquery()
    )
    shape = of_first.correlate(whole).lateral("of_first")
    return select(*whole.c, shape.c.shape).select_from(whole).join(shape, true())


def _is_in(line: FromClause) -> Sequence[ColumnElement[bool]]:
    return [column == line.c[column.name] for column in _LINE]


def with_owners(line: Subquery) -> Subquery:
    """With what their owners have used for their weight, and the limit that they have reached (None: none)."""
    used = usage.by_owner()
    weighted = func.coalesce(used.c.seconds, 0.0) / User.weight
    statement = select(
        *line.c, User.weight, weighted.label("used"), limits.reached(used).label("reached")
    )
    statement = statement.select_from(line).join(User, User.id == line.c.owner_id)
    return (
        limits.joined(statement)
        .outerjoin(used, used.c.owner_id == line.c.owner_id)
        .subquery("owned")
    )


def in_order(
    lines: FromClause,
    *conditions: ColumnElement[bool],
    limit: int | ColumnElement[int],
    with_held_back: bool = False,
    queued_before: ColumnElement[datetime] | None = None,
) -> Select[int, *tuple[Any, ...]]:
    """The jobs that meet the conditions, the fairest first, of lines `with_owners`; `limit`: of each; `with_held_back`: also
    the jobs of people who have reached a limit, with its name. `queued_before`: a time of each line, behind which none
    of its jobs is looked at."""
    before = LATEST if queued_before is None else queued_before
    in_time: Sequence[ColumnElement[bool]] = (Job.queued_at < before,)
    in_age: Sequence[Any] = (Job.queued_at, Job.id)
    if "shape" in lines.c:
        # As rows, which lie so in one index only: of the other, which has no shapes, the whole line might be walked.
        in_line = tuple_(Job.shape, Job.queued_at)
        in_time = (
            in_line >= tuple_(lines.c.shape, EARLIEST),
            in_line < tuple_(lines.c.shape, before),
        )
        in_age = (Job.shape, *in_age)
    head = (
        select(Job.id, Job.queued_at, Job.study_id, Job.devices)
        .where(
            # A line of somebody who has reached a limit is not even looked into.
            true() if with_held_back else lines.c.reached.is_(None),
            IN_LINE,
            *_is_in(lines),
            *in_time,
            # In a CASE, of which the planner supposes that it holds for every second row. If it thought that it
            # held for hardly any it would read and sort the whole line instead of walking along the index.
            case((and_(true(), *conditions), true()), else_=false()),
        )
        .order_by(*in_age)
        .limit(limit)
        .correlate(lines)
        .lateral("head")
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


def raise_class(priority: int, waited_seconds: float) -> int:
    """The class of a job that has waited for so long."""
    return min(len(PRIORITIES) - 1, priority + int(max(0.0, waited_seconds) // AGING_SECONDS))


def seconds_since(moment: Any) -> ColumnElement[float]:
    # One clock for all rows of the statement, or rows read later would look fresher than their peers.
    return cast(extract("epoch", func.statement_timestamp() - moment), Float)
