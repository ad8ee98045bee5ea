"""The queue: which jobs are runnable, on which kind of device, and which of them is next (`order`)."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from functools import cache
from typing import Any

from sqlalchemy import (
    ARRAY,
    BigInteger,
    ColumnElement,
    Integer,
    Select,
    Text,
    all_,
    and_,
    bindparam,
    case,
    func,
    literal,
    literal_column,
    or_,
    select,
    union_all,
)
from sqlalchemy.orm import Session, joinedload, load_only
from sqlalchemy.orm.interfaces import ORMOption

from store.db import IN_LINE, Attempt, Dataset, Job, Study, User
from store.hosts import PATIENCE_SECONDS, Counts, footprints
from store.jobs import order

#: Of each line so many jobs are looked at for one that fits into the memory that is free on GPUs.
MOST_LOOKED_AT = 10
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
    values: dict[str, Any] = {"host": host, "passed_over": list(passed_over)}
    for kind, counts in room.items():
        values |= {f"free_{kind}": counts.free, f"whole_{kind}": counts.whole}
        values[f"total_{kind}"] = counts.total
    memory = room["cuda"].memory if "cuda" in room else {}
    if memory:
        values |= {"names": list(memory), "unmeasured": room["cuda"].unmeasured}
        values["now"], values["idle"] = (list(one) for one in zip(*memory.values(), strict=True))
    return session.scalars(_fairest(tuple(sorted(room)), bool(memory)), values).first()


@cache
def _fairest(kinds: Sequence[str], is_measured: bool) -> Select[int, *tuple[Any, ...]]:
    """Made once for each set of kinds, which takes longer than PostgreSQL takes to answer it. `is_measured`: the memory
    of GPUs, so that they are shared by what fits into it."""
    fits = _on_any({kind: _fits(kind) for kind in kinds})
    passed_over = bindparam("passed_over", type_=ARRAY(BigInteger))
    conditions = [is_runnable(), fits, Job.id.not_in(_filled_disk()), Job.id != all_(passed_over)]
    # Lines of jobs that ask for another kind of device are not even looked into.
    lines = order.lines(("auto", *kinds))
    # Not bound: a plan for any limit supposes that it is a tenth of the rows.
    first = literal_column("1", Integer)
    # What a job books costs more to find than all else, and of those in front none may fit.
    by_kind = {kind: _fits_memory() if kind == "cuda" else _fits(kind) for kind in kinds}
    looked_at = (_on_any(by_kind), MOST_LOOKED_AT) if is_measured else None
    return order.in_order(lines, *conditions, limit=first, looked_at=looked_at).limit(first)


def _on_any(fits: Mapping[str, ColumnElement[bool]]) -> ColumnElement[bool]:
    """Whether it is so of one of the kinds of device that the job may have."""
    required = required_kind()
    return or_(*(and_(one, func.coalesce(required, kind) == kind) for kind, one in fits.items()))


def _fits(kind: str) -> ColumnElement[bool]:
    """Now, or by waiting for it."""
    free, whole, total = (
        bindparam(f"{name}_{kind}", type_=Integer) for name in ("free", "whole", "total")
    )
    return or_(
        Job.devices <= case((Job.exclusive, whole), else_=free),
        and_(Job.devices <= total, _has_waited()),
    )


def _fits_memory() -> ColumnElement[bool]:
    """On GPUs, as `store.hosts.Room.choose` decides it: what a job books must be free; one that books nothing (of which
    nothing is known, or on several) gets whole ones."""
    whole, total, unmeasured = (
        bindparam(name, type_=Integer) for name in ("whole_cuda", "total_cuda", "unmeasured")
    )
    on_whole = or_(Job.devices <= whole, and_(Job.devices <= total, _has_waited()))
    on_unmeasured = and_(~Job.exclusive, Job.devices <= unmeasured)
    books = func.coalesce(footprints.has_room(_has_waited()), on_whole)
    return or_(case((or_(Job.exclusive, Job.devices > 1), on_whole), else_=books), on_unmeasured)


def _has_waited() -> ColumnElement[bool]:
    return Job.queued_at < func.statement_timestamp() - timedelta(seconds=PATIENCE_SECONDS)


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
    lines = order.lines(("auto",) if kind is None else ("auto", kind))
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
            Job.study_id,
            Job.priority,
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
