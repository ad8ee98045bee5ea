"""The queue: which jobs are runnable, on which kind of device, and which of them is next (`order`)."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from functools import cache
from typing import Any

from sqlalchemy import (
    ARRAY,
    CTE,
    BigInteger,
    ColumnElement,
    FromClause,
    Integer,
    Select,
    Subquery,
    Text,
    all_,
    and_,
    bindparam,
    case,
    cast,
    func,
    literal,
    literal_column,
    or_,
    select,
    true,
    union_all,
)
from sqlalchemy.orm import Session, joinedload, load_only
from sqlalchemy.orm.interfaces import ORMOption

from store.db import IN_LINE, Attempt, Dataset, Job, Study, User, Worker
from store.hosts import PATIENCE_SECONDS, Counts, footprints
from store.jobs import order

#: How long a host skips a job under which its disk ran full; twice as long each time.
FIRST_DISK_PAUSE_SECONDS = 60.0


@dataclass(frozen=True, slots=True)
class Waiting:
    """A queued job and its position, counted from 1; `runnable` is false until its dataset is ready; `kind` of
    device: None where it may have any; `reached`: the limit of its owner that holds it back. `bookings`: what it books
    of a GPU's memory, by the GPUs' names; None where it runs alone."""

    job: Job
    position: int
    waiting_seconds: float
    runnable: bool
    kind: str | None
    reached: str | None
    bookings: Mapping[str, int] | None = None


#: Written into the statement, not bound: a plan for any value of a parameter could not use the partial indexes.
_IS_RUNNING = Job.status == literal_column("'running'")


def waiting(session: Session, limit: int = 100) -> Sequence[Waiting]:
    """The first jobs of the queue, in the order in which they get free slots, people taking turns."""
    rows = session.execute(_waiting(), {"most": limit}).all()
    return [
        Waiting(job, position, seconds, ready, kind, reached, bookings)
        for position, (job, seconds, ready, kind, reached, bookings) in enumerate(rows, start=1)
    ]


@cache
def _waiting() -> Select[Job, float, bool, str | None, str | None, dict[str, int] | None]:
    most = bindparam("most", type_=Integer)
    first = order.in_turns(most).limit(most).subquery("first")
    return (
        select(
            Job,
            order.seconds_since(Job.queued_at),
            is_runnable(),
            required_kind(),
            first.c.reached,
            footprints.bookings(),
        )
        .join(first, first.c.id == Job.id)
        .options(*_as_listed())
        .order_by(first.c.place)
    )


def running(session: Session) -> Sequence[Job]:
    """All running jobs, those that started first in front."""
    statement = (
        select(Job).options(*_as_listed()).where(_IS_RUNNING).order_by(Job.started_at, Job.id)
    )
    return session.scalars(statement).all()


def highest_class(session: Session) -> int | None:
    """Of all queued jobs, as they were asked for; None where none waits."""
    highest: int | None = session.scalar(select(func.max(order.lines().c.priority)))
    return highest


def fairest(
    session: Session, room: Mapping[str, Counts], host: str, passed_over: Collection[int] = ()
) -> int | None:
    """The id of the next runnable job, given what is free of each kind of device. One that needs more than that is
    given, too, once it has waited `room.PATIENCE_SECONDS` and the host has as many.

    `passed_over`: not these. A job under which the host's disk ran full is passed over for a while, too.
    """
    return next(iter(_find(session, room, host, passed_over, 1)), None)


def count_fitting(session: Session, counts: Counts, host: str, most: int) -> int:
    """How many jobs, each by itself, may start in what is free of the host's GPUs, if it is no more than `most`."""
    return len(_find(session, {"cuda": counts}, host, (), most))


def _find(
    session: Session, room: Mapping[str, Counts], host: str, passed_over: Collection[int], most: int
) -> Sequence[int]:
    values: dict[str, Any] = {"host": host, "passed_over": list(passed_over)}
    for kind, counts in room.items():
        values |= {f"free_{kind}": counts.free, f"whole_{kind}": counts.whole}
        values[f"total_{kind}"] = counts.total
    memory = room["cuda"].memory if "cuda" in room else {}
    if memory:
        values |= {"names": list(memory), "unmeasured": room["cuda"].unmeasured}
        values["now"], values["idle"] = (list(one) for one in zip(*memory.values(), strict=True))
    return session.scalars(_fairest(tuple(sorted(room)), bool(memory), most), values).all()


@cache
def _fairest(kinds: Sequence[str], is_measured: bool, most: int) -> Select[int, *tuple[Any, ...]]:
    """Made once for each set of kinds, which takes longer than PostgreSQL takes to answer it. `is_measured`: the memory
    of GPUs, so that they are shared by what fits into it."""
    # Lines of jobs that ask for another kind of device are not even looked into.
    find = order.lines_by_shape if is_measured else order.lines
    lines = _with_room(order.with_owners(find(("auto", *kinds))), kinds, is_measured)
    before = {kind: lines.c[f"before_{kind}"] for kind in kinds}
    required = required_kind()
    conditions = [
        is_runnable(),
        or_(
            *(
                and_(Job.queued_at < time, func.coalesce(required, kind) == kind)
                for kind, time in before.items()
            )
        ),
        Job.id.not_in(_filled_disk()),
        _has_packages(),
        Job.id != all_(bindparam("passed_over", type_=ARRAY(BigInteger))),
    ]
    # Not bound: a plan for any limit supposes that it is a tenth of the rows.
    first = literal_column(str(most), Integer)
    latest = func.greatest(*before.values())
    return order.in_order(lines, *conditions, limit=first, queued_before=latest).limit(first)


def _with_room(lines: Subquery, kinds: Sequence[str], is_measured: bool) -> CTE:
    """With the time for each kind of device before which those of its jobs were queued that may have one: all where it is
    free now; where it can be waited for, those that have waited for long."""
    memory = footprints.room(lines.c.shape) if is_measured else None
    patient = func.statement_timestamp() - timedelta(seconds=PATIENCE_SECONDS)
    before = []
    for kind in kinds:
        now, later = _fits(lines, kind, memory if kind == "cuda" else None)
        time = case((now, order.LATEST), (later, patient), else_=order.EARLIEST)
        before.append(time.label(f"before_{kind}"))
    rows = select(*lines.c, *before).select_from(lines)
    if memory is not None:
        rows = rows.join(memory, true())
    # What it says of a line is found once, not for each of its jobs.
    return rows.cte("with_room").prefix_with("MATERIALIZED")


def _fits(
    lines: Subquery, kind: str, memory: FromClause | None
) -> tuple[ColumnElement[bool], ColumnElement[bool]]:
    """Whether what the jobs of a line need is free now, and whether it can be by waiting.

    Where the `memory` of GPUs is measured, as `store.hosts.Room.choose` decides it: what a job books must be free; one
    that books nothing (of which nothing is known, or on several) gets whole ones."""
    free, whole, total = (
        bindparam(f"{name}_{kind}", type_=Integer) for name in ("free", "whole", "total")
    )
    need = lines.c
    if memory is None:
        return need.devices <= case((need.exclusive, whole), else_=free), need.devices <= total
    unmeasured = bindparam("unmeasured", type_=Integer)
    is_whole = or_(need.exclusive, need.devices > 1)
    now, later = (
        case((is_whole, need.devices <= count), else_=func.coalesce(room, need.devices <= count))
        for count, room in ((whole, memory.c.now), (total, memory.c.idle))
    )
    return or_(now, and_(~need.exclusive, need.devices <= unmeasured)), later


def _has_packages() -> ColumnElement[bool]:
    """Whether the host has the packages of plugins that the job was submitted with, in these very versions."""
    theirs = select(Worker.packages).where(Worker.host == bindparam("host")).scalar_subquery()
    have = func.coalesce(theirs, cast([], ARRAY(Text)))
    has_all: ColumnElement[bool] = Job.packages.contained_by(have)
    return has_all


def _filled_disk() -> Select[int]:
    """Jobs that the host shall not try again yet: other hosts may have more room, other jobs need less."""
    pause = FIRST_DISK_PAUSE_SECONDS * func.power(2.0, func.least(func.count(), 10) - 1)
    return (
        select(Attempt.job_id)
        .join(Job, Job.id == Attempt.job_id)
        .where(
            Attempt.host == bindparam("host"),
            Attempt.end == literal_column("'disk'"),
            Attempt.number > Job.attempt_base,
            # Asked of the index first: the longest pause is far shorter.
            Attempt.ended_at > func.statement_timestamp() - timedelta(hours=2),
        )
        .group_by(Attempt.job_id)
        .having(order.seconds_since(func.max(Attempt.ended_at)) < pause)
        .correlate(None)
    )


def demand(session: Session, free: Mapping[str, int]) -> dict[str | None, int]:
    """How many jobs are runnable, by the kind of device that they need (None: any); no more than are free."""
    # Counting stops there: the queue may be far longer than what can start now.
    most = [*free.items(), (None, sum(free.values()))]
    counts = [_count_runnable(kind, count) for kind, count in most if count > 0]
    if not counts:
        return {}
    return {kind: count for kind, count in session.execute(union_all(*counts)) if count}


def _count_runnable(kind: str | None, most: int) -> Select[str | None, int]:
    # Along the lines, as jobs are acquired: those of people who have reached a limit are not looked into.
    lines = order.with_owners(order.lines(("auto",) if kind is None else ("auto", kind)))
    conditions = [is_runnable(), required_kind().is_not_distinct_from(kind)]
    jobs = order.in_order(lines, *conditions, limit=most).limit(most)
    return select(literal(kind, Text), func.count()).select_from(jobs.subquery())


def is_runnable() -> ColumnElement[bool]:
    """Queued, and its dataset is there (to make it is what a dataset's job is for)."""
    # Looked up for one job after the other: a join could begin with all datasets, or with all studies.
    status = select(Dataset.status).where(Dataset.id == Job.dataset_id).correlate(Job)
    return and_(IN_LINE, or_(Job.kind == "dataset", status.scalar_subquery() == "ready"))


def required_kind() -> ColumnElement[str | None]:
    """`cpu` or `cuda` where the numerics are fixed or the spec says so, else NULL."""
    fixed = select(Study.numerics["device"].astext).where(Study.id == Job.study_id).correlate(Job)
    return func.coalesce(
        fixed.scalar_subquery(), Job.numerics["device"].astext, func.nullif(Job.device, "auto")
    )


def _as_listed() -> Sequence[ORMOption]:
    """What a list shows of a job, its study and its owner: not their documents."""
    return (
        load_only(
            Job.name,
            Job.project_id,
            Job.study_id,
            Job.priority,
            Job.packages,
            Job.devices,
            Job.exclusive,
            Job.attempt,
            Job.step,
            Job.total_steps,
            Job.started_at,
        ),
        joinedload(Job.owner).load_only(User.name),
        joinedload(Job.study).load_only(Study.name),
    )
