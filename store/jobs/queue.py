"""The queue: which jobs are runnable, in which order, on which kind of device.

Fair means: the higher priority class first, raised by one for every `AGING_SECONDS` of waiting; then
the person who has used the machines least, old use fading by half every `HALF_LIFE_SECONDS`; then age.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, TypeVar

from sqlalchemy import (
    ColumnElement,
    Float,
    Select,
    and_,
    case,
    cast,
    extract,
    false,
    func,
    literal,
    or_,
    select,
)
from sqlalchemy.orm import Session, aliased, joinedload

from store.db import PRIORITIES, Attempt, Dataset, Job, Study

AGING_SECONDS = 3600.0
HALF_LIFE_SECONDS = 24 * 3600.0
#: A running attempt is charged at least this, where its study has no finished job to tell better.
ASSUMED_SECONDS = 300.0
#: How long a host skips a job under which its disk ran full; twice as long each time.
FIRST_DISK_PAUSE_SECONDS = 60.0

AnySelect = TypeVar("AnySelect", bound=Select[*tuple[Any, ...]])


@dataclass(frozen=True, slots=True)
class Waiting:
    """A queued job and its position, counted from 1; `runnable` is false until its dataset is ready."""

    job: Job
    position: int
    waiting_seconds: float
    runnable: bool


def waiting(session: Session, limit: int = 100) -> Sequence[Waiting]:
    """The first jobs of the queue, in the order in which they get free slots."""
    waited = _seconds_since(Job.queued_at)
    statement = (
        in_order(select(Job, waited, is_runnable()))
        .options(joinedload(Job.owner), joinedload(Job.project), joinedload(Job.study))
        .where(Job.status == "queued")
        .limit(limit)
    )
    rows = session.execute(statement).all()
    return [
        Waiting(job, position, seconds, ready)
        for position, (job, seconds, ready) in enumerate(rows, start=1)
    ]


def running(session: Session) -> Sequence[Job]:
    """All running jobs, those that started first in front."""
    statement = (
        select(Job)
        .options(joinedload(Job.owner), joinedload(Job.project), joinedload(Job.study))
        .where(Job.status == "running")
        .order_by(Job.started_at, Job.id)
    )
    return session.scalars(statement).all()


def fairest(free: Mapping[str, int], host: str) -> Select[int]:
    """The id of the next runnable job, locked, given the number of free devices of each kind.

    A row that another transaction is changing (a cancel) is skipped, and so is, for a while, a job
    under which the host's disk ran full.
    """
    fits = or_(
        false(),
        *(
            and_(Job.devices <= count, or_(required_kind() == kind, required_kind().is_(None)))
            for kind, count in free.items()
        ),
    )
    return (
        # Only the id: sorting whole rows would take three times as long.
        in_order(select(Job.id))
        .where(is_runnable(), fits, Job.id.not_in(_filled_disk_of(host)))
        .limit(1)
        .with_for_update(of=Job, key_share=True, skip_locked=True)
    )


def _filled_disk_of(host: str) -> Select[int]:
    """Jobs that this host shall not try again yet: other hosts may have more room, other jobs need less."""
    pause = FIRST_DISK_PAUSE_SECONDS * func.power(2.0, func.least(func.count(), 10) - 1)
    return (
        select(Attempt.job_id)
        .join(Job, Job.id == Attempt.job_id)
        .where(
            Attempt.host == host,
            Attempt.end == "disk",
            Attempt.number > Job.attempt_base,
            # Asked of the index first: the longest pause is far shorter.
            Attempt.ended_at > func.statement_timestamp() - timedelta(hours=2),
        )
        .group_by(Attempt.job_id)
        .having(_seconds_since(func.max(Attempt.ended_at)) < pause)
        .correlate(None)
    )


def demand(session: Session) -> dict[str | None, int]:
    """How many jobs are runnable, by the kind of device that they need; None: any."""
    kind = required_kind().label("kind")
    statement = (
        select(kind, func.count())
        .select_from(Job)
        .outerjoin(Study, Study.id == Job.study_id)
        .join(Dataset, Dataset.id == Job.dataset_id)
        .where(is_runnable())
        .group_by(kind)
    )
    return {kind: count for kind, count in session.execute(statement)}


def is_runnable() -> ColumnElement[bool]:
    """Queued, and its dataset is there (to make it is what a dataset's job is for)."""
    return and_(Job.status == "queued", or_(Job.kind == "dataset", Dataset.status == "ready"))


def required_kind() -> ColumnElement[str | None]:
    """`cpu` or `cuda` where the numerics are fixed or the spec says so, else NULL."""
    return func.coalesce(
        Study.numerics["device"].astext,
        Job.numerics["device"].astext,
        func.nullif(Job.device, "auto"),
    )


def in_order(statement: AnySelect) -> AnySelect:
    """The statement's jobs, with their study and dataset joined, the fairest first."""
    use = _use_by_owner().subquery()
    # Waiting raises a job's class step by step up to the highest, so that none is passed over for ever.
    waited_classes = func.floor(_seconds_since(Job.queued_at) / AGING_SECONDS)
    priority = func.least(literal(len(PRIORITIES) - 1), Job.priority + waited_classes)
    return (
        statement.select_from(Job)
        .outerjoin(Study, Study.id == Job.study_id)
        .join(Dataset, Dataset.id == Job.dataset_id)
        .outerjoin(use, use.c.owner_id == Job.owner_id)
        # Within a class the owner who has used least goes first, then the job that has waited longest; the id
        # makes the order total.
        .order_by(priority.desc(), func.coalesce(use.c.seconds, 0.0), Job.queued_at, Job.id)
    )


def _use_by_owner() -> Select[int, float]:
    """Each person's seconds on devices, fading with age; what runs counts at its estimate at least."""
    used = Attempt.ended_at - Attempt.started_at
    charged = case(
        (Attempt.ended_at.is_not(None), cast(extract("epoch", used), Float)),
        else_=func.greatest(_seconds_since(Attempt.started_at), _estimate()),
    )
    age = func.coalesce(_seconds_since(Attempt.ended_at), 0.0)
    # Beyond ten half-lives less than a thousandth is left.
    recent = or_(Attempt.ended_at.is_(None), age < 10 * HALF_LIFE_SECONDS)
    seconds = func.sum(charged * Job.devices * func.power(0.5, age / HALF_LIFE_SECONDS))
    return (
        select(Job.owner_id, cast(seconds, Float).label("seconds"))
        .join(Attempt, Attempt.job_id == Job.id)
        .where(recent)
        .group_by(Job.owner_id)
    )


def _estimate() -> ColumnElement[float]:
    """What a job of the same study took on average."""
    other = aliased(Job)
    average = select(func.avg(other.seconds_used)).where(
        other.study_id == Job.study_id, other.status == "succeeded"
    )
    return func.coalesce(average.correlate(Job).scalar_subquery(), ASSUMED_SECONDS)


def _seconds_since(moment: Any) -> ColumnElement[float]:
    # One clock for all rows of the statement, or rows read later would look fresher than their peers.
    return cast(extract("epoch", func.statement_timestamp() - moment), Float)
