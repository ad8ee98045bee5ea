"""What goes on now: how far the running jobs are, how many wait, and who uses the machines."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import (
    ColumnElement,
    Subquery,
    case,
    func,
    literal,
    literal_column,
    null,
    select,
    union_all,
)
from sqlalchemy.orm import Session

from store.db import IN_LINE, Attempt, Job, User
from store.jobs import usage


@dataclass(frozen=True, slots=True)
class Progress:
    """A running attempt: seconds since it began, steps done in it, steps to do; `seconds_left` at this pace, None
    before its first step."""

    started_at: datetime
    seconds: float
    steps_done: int
    steps_left: int | None

    @property
    def seconds_left(self) -> float | None:
        if self.steps_left is None or self.steps_done <= 0:
            return None
        return self.seconds / self.steps_done * self.steps_left


@dataclass(frozen=True, slots=True)
class Share:
    """What a person has used of the machines lately (`usage`), in device-seconds, and what they have there.

    `open_seconds` of `seconds` are of running jobs; `weighted` decides whose turn it is; `turn`: 1 for whoever is
    first of those with waiting jobs, None without any. `since`: when their first job started.
    """

    name: str
    weight: float
    seconds: float
    open_seconds: float
    weighted: float
    running: int
    queued: int
    since: datetime | None
    waiting_since: datetime | None
    turn: int | None


def progress(session: Session) -> Mapping[int, Progress]:
    """Of each running job, by its id."""
    seconds = func.extract("epoch", func.clock_timestamp() - Attempt.started_at)
    statement = (
        select(Job.id, Job.step, Job.total_steps, Attempt.started_at, Attempt.first_step, seconds)
        .join(Attempt, (Attempt.job_id == Job.id) & (Attempt.number == Job.attempt))
        .where(Job.status == literal_column("'running'"))
    )
    found = {}
    for job_id, step, total, started_at, first_step, passed in session.execute(statement):
        left = None if total is None else max(0, total - step)
        # Until it has begun to train, the step is that of the attempt before.
        done = 0 if first_step is None else step - first_step
        found[job_id] = Progress(started_at, float(passed), done, left)
    return found


def shares(session: Session) -> Sequence[Share]:
    """Of everybody who uses the machines, has used them lately or waits for them; who has used most comes first."""
    used = usage.by_owner()
    counts = _counts()
    seconds, open_seconds = (
        func.coalesce(used.c[name], 0.0) for name in ("seconds", "open_seconds")
    )
    weighted = seconds / User.weight
    running, queued = (func.coalesce(counts.c[name], 0) for name in ("running", "queued"))
    # Of people with waiting jobs apart from those without.
    turn = func.row_number().over(
        partition_by=queued > 0, order_by=(weighted, counts.c.waiting_since)
    )
    statement = (
        select(
            User.name,
            User.weight,
            seconds,
            open_seconds,
            weighted,
            running,
            queued,
            _first_start(),
            counts.c.waiting_since,
            case((queued > 0, turn)),
        )
        .outerjoin(used, used.c.owner_id == User.id)
        .outerjoin(counts, counts.c.owner_id == User.id)
        .where((seconds >= 1.0) | (running > 0) | (queued > 0))
        .order_by(seconds.desc(), User.name)
    )
    return [Share(*row) for row in session.execute(statement)]


def _counts() -> Subquery:
    """Of each person's running and waiting jobs, and since when they wait."""
    # One for each: neither of the two partial indexes serves a condition on both.
    held = union_all(
        *(
            select(
                Job.owner_id,
                literal(int(status == "running")).label("running"),
                literal(int(status == "queued")).label("queued"),
                (Job.queued_at if status == "queued" else null()).label("queued_at"),
            ).where(condition)
            for status, condition in (
                ("queued", IN_LINE),
                ("running", Job.status == literal_column("'running'")),
            )
        )
    ).subquery("held")
    return (
        select(
            held.c.owner_id,
            func.sum(held.c.running).label("running"),
            func.sum(held.c.queued).label("queued"),
            func.min(held.c.queued_at).label("waiting_since"),
        )
        .group_by(held.c.owner_id)
        .subquery("counts")
    )


def _first_start() -> ColumnElement[datetime | None]:
    """Of the person's oldest job that has started, by the index of their jobs."""
    return (
        select(Job.started_at)
        .where(Job.owner_id == User.id, Job.started_at.is_not(None))
        .order_by(Job.id)
        .limit(1)
        .correlate(User)
        .scalar_subquery()
    )
