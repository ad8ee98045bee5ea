"""What a person may have of the machines at most: their own limit, else their role's, else none.

Limits on running jobs and on device-seconds a day hold jobs back in the queue (`reached`); those on waiting jobs,
disk space, timeouts and priorities refuse a submission.
"""

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from sqlalchemy import (
    ARRAY,
    CTE,
    BigInteger,
    ColumnElement,
    FromClause,
    Select,
    Text,
    and_,
    any_,
    case,
    exists,
    false,
    func,
    literal,
    literal_column,
    or_,
    select,
)
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session, aliased

from store.access import everything
from store.db import (
    IN_LINE,
    PRIORITIES,
    ROLES,
    Job,
    Limit,
    LimitReached,
    PriorityRefused,
    StartEstimate,
    User,
    database_now,
)
from store.hosts import describe_bytes, disk_use
from trainer.spec import describe_duration

NAMES = (
    "running", "queued", "device_seconds_per_day", "timeout_seconds", "disk_bytes", "priority",
)  # fmt: skip

#: The highest priority of each role where no limit says otherwise.
HIGHEST_PRIORITY = {"viewer": "normal", "member": "high", "admin": "urgent"}

_own, _of_role = aliased(Limit), aliased(Limit)


@dataclass(frozen=True, slots=True)
class Limits:
    """None: no limit. `priority`: the highest that may be asked for."""

    running: int | None = None
    queued: int | None = None
    device_seconds_per_day: float | None = None
    timeout_seconds: float | None = None
    disk_bytes: int | None = None
    priority: str | None = None

    @classmethod
    def of(cls, values: Sequence[Any]) -> "Limits":
        """Of a row with the columns `NAMES`."""
        named = dict(zip(NAMES, values, strict=True))
        priority = named.pop("priority")
        return cls(**named, priority=None if priority is None else PRIORITIES[priority])


def of_roles(session: Session) -> Mapping[str, Limits]:
    """Of every role, with its highest priority."""
    query = select(Limit.role, *_columns(Limit)).where(Limit.role.is_not(None))
    kept = {role: Limits.of(values) for role, *values in session.execute(query)}
    return {
        role: _with_priority(kept.get(role, Limits()), HIGHEST_PRIORITY[role]) for role in ROLES
    }


def of_people(session: Session) -> Mapping[str, Limits]:
    """Their own limits, of those who have any, by name."""
    query = select(User.name, *_columns(Limit)).join(User, User.id == Limit.user_id)
    found = {
        name: Limits.of(values) for name, *values in session.execute(query.order_by(User.name))
    }
    return {name: own for name, own in found.items() if own != Limits()}


def in_force(session: Session, user_id: int) -> Limits:
    """What holds for this person: their own limits, and those of their role where they have none."""
    query = joined(select(*(limit(name) for name in NAMES)).select_from(User))
    return Limits.of(session.execute(query.where(User.id == user_id)).one())


def of_everybody(session: Session, name: str) -> Mapping[str, Any]:
    """One limit in force for each person, by name; None: no limit."""
    rows = session.execute(joined(select(User.name, limit(name)).select_from(User)))
    return {user: value for user, value in rows}


def change(session: Session, subject: str | User, values: Mapping[str, Any]) -> None:
    """Set the named limits of a role or a person; None removes one."""
    changed = dict(values)
    if changed.get("priority") is not None:
        changed["priority"] = PRIORITIES.index(changed["priority"])
    key = {"user_id": subject.id} if isinstance(subject, User) else {"role": subject}
    row = insert(Limit).values(**key, **changed)
    if changed:
        session.execute(row.on_conflict_do_update(index_elements=[*key], set_=changed))


def joined(statement: Select[Any]) -> Select[Any]:
    """With the rows of the users' limits, which `limit` reads."""
    return statement.outerjoin(_own, _own.user_id == User.id).outerjoin(
        _of_role, _of_role.role == User.role
    )


def limit(name: str) -> ColumnElement[Any]:
    """Of the users of a statement that is `joined`; NULL: none."""
    values: list[ColumnElement[Any]] = [getattr(_own, name), getattr(_of_role, name)]
    if name == "priority":
        highest = {role: PRIORITIES.index(word) for role, word in HIGHEST_PRIORITY.items()}
        values.append(case(highest, value=User.role))
    return func.coalesce(*values)


def reached(used: FromClause) -> ColumnElement[str | None]:
    """Which limit holds the jobs of the users of a `joined` statement back; `used`: `usage.by_owner`, outer joined."""
    running = func.coalesce(used.c.running, 0) >= limit("running")
    today = func.coalesce(used.c.today, 0.0) >= limit("device_seconds_per_day")
    return case(
        (running, literal_column("'running'", Text)),
        (today, literal_column("'device_seconds_per_day'", Text)),
    )


def describe_reached(session: Session, user: User, name: str) -> str:
    """Which limit of this person is reached, and when their jobs go on."""
    allowed = in_force(session, user.id)
    if name == "running":
        if not allowed.running:
            return f"limit running: {user.name} may have no running jobs; this job waits until an admin raises the limit"
        count = _counted(allowed.running, "running job")
        return f"limit running: {user.name} may have {count} at once; this job waits until one ends"
    seconds = describe_duration(allowed.device_seconds_per_day or 0.0)
    return (
        f"limit device_seconds_per_day: {user.name} has used up the {seconds} of device time for this day (running "
        "jobs count with their expected time); this job waits until midnight UTC, or until a running job ends sooner "
        "than expected"
    )


def concerns(rows: CTE) -> ColumnElement[bool]:
    """Whether any of these new jobs may be refused: `admit` has to look."""
    someone = joined(select(User.id).join(rows, rows.c.owner_id == User.id)).where(
        or_(
            limit("queued").is_not(None),
            limit("disk_bytes").is_not(None),
            func.coalesce(rows.c.timeout_seconds > limit("timeout_seconds"), false()),
            rows.c.priority > limit("priority"),
        )
    )
    return exists(someone)


def admit(session: Session, rows: Sequence[Mapping[str, Any]]) -> None:
    """Raises LimitReached or PriorityRefused if one of these new jobs (rows of `creation`) is beyond a limit.

    Until the commit nobody else submits for these people.
    """
    counts = Counter(row["owner_id"] for row in rows)
    for owner in _lock(session, counts):
        allowed = in_force(session, owner.id)
        own = [row for row in rows if row["owner_id"] == owner.id]
        _refuse_priority(owner, allowed, max(row["priority"] for row in own))
        _refuse_timeout(owner, allowed, max(row["timeout_seconds"] for row in own))
        # Also of projects that they may no longer read.
        with everything(session):
            _refuse_queued(session, owner, allowed, counts[owner.id])
            _refuse_disk(session, owner, allowed)


def admit_again(session: Session, jobs: Sequence[Job], statuses: Collection[str]) -> None:
    """Raises LimitReached if those of these jobs of one person that have such a status are too many to wait again, or if
    the person's files are too large.

    To be called before a job is locked: whoever locks both locks the person first.
    """
    allowed = in_force(session, jobs[0].owner_id)
    if allowed.queued is None and allowed.disk_bytes is None:
        return
    [owner] = _lock(session, [jobs[0].owner_id])
    ids = literal([job.id for job in jobs], ARRAY(BigInteger))
    again = and_(Job.id == any_(ids), Job.status.in_(statuses))
    with everything(session):
        if more := _count(session, again):
            _refuse_queued(session, owner, allowed, more)
            _refuse_disk(session, owner, allowed)


def ensure_priority(session: Session, user: User, priority: str) -> None:
    """Raises PriorityRefused if it is too high for this person to ask for."""
    _refuse_priority(user, in_force(session, user.id), PRIORITIES.index(priority))


def _lock(session: Session, user_ids: Sequence[int] | Counter[int]) -> Sequence[User]:
    """In one order everywhere. Jobs that refer to them may be written meanwhile: hence key_share."""
    query = select(User).where(User.id.in_(list(user_ids))).order_by(User.id)
    return session.scalars(query.with_for_update(key_share=True)).all()


def _refuse_priority(user: User, allowed: Limits, highest: int) -> None:
    words = PRIORITIES[: PRIORITIES.index(allowed.priority or PRIORITIES[-1]) + 1]
    if highest >= len(words):
        raise PriorityRefused(
            f"{user.name} ({user.role}) may ask for priority {_listed(words)}, not "
            f"{PRIORITIES[highest]}; an admin can raise a job's priority, or what {user.name} may ask for"
        )


def _listed(words: Sequence[str]) -> str:
    return " or ".join([", ".join(words[:-1]), words[-1]]) if len(words) > 1 else words[0]


def _refuse_timeout(user: User, allowed: Limits, longest: float) -> None:
    if allowed.timeout_seconds is not None and longest > allowed.timeout_seconds:
        raise LimitReached(
            f"limit timeout_seconds: jobs of {user.name} may train for {describe_duration(allowed.timeout_seconds)} "
            f"at most, but resources.timeout is {describe_duration(longest)}; set it lower (a job that "
            "was paused or drained goes on where it stopped), or ask an admin for a longer one"
        )


def _refuse_queued(session: Session, user: User, allowed: Limits, more: int) -> None:
    if allowed.queued is None:
        return
    queued = _count_queued(session, user.id)
    if queued + more > allowed.queued:
        if more <= allowed.queued:
            start = _next_start(session, user.id)
            remedy = f"there is room for another when one of them starts{start} or is cancelled"
        else:
            fewer = "do it with fewer jobs at a time, or " if allowed.queued else ""
            remedy = f"{fewer}ask an admin for a higher limit"
        raise LimitReached(
            f"limit queued: {user.name} may have {_counted(allowed.queued, 'waiting job')} and has {queued}; "
            f"this would add {more}; {remedy}"
        )


def _refuse_disk(session: Session, user: User, allowed: Limits) -> None:
    """Running jobs go on, whatever they write."""
    if allowed.disk_bytes is None:
        return
    owned = disk_use.read_owned(session, user.id).get(user.name)
    if owned is not None and owned.bytes >= allowed.disk_bytes:
        raise LimitReached(
            f"limit disk_bytes: {user.name} may keep {describe_bytes(allowed.disk_bytes)} and has "
            f"{describe_bytes(owned.bytes)} ({describe_bytes(owned.checkpoints)} of them checkpoints); those that ended "
            "jobs would resume from are removed some days after the end, or by an admin with `normlab gc`; or ask an "
            "admin for a higher limit"
        )


def _next_start(session: Session, user_id: int) -> str:
    """When the person's next job may start, if that was foreseen."""
    query = select(func.min(StartEstimate.expected_at)).join(Job, Job.id == StartEstimate.job_id)
    found = session.scalars(query.where(Job.owner_id == user_id, IN_LINE)).one()
    if found is None:
        return ""
    seconds = (found - database_now(session)).total_seconds()
    return " (any moment)" if seconds < 1 else f" (expected in {describe_duration(seconds)})"


def _count_queued(session: Session, user_id: int) -> int:
    """With those that wait for an equal one, which stand in another index."""
    waits = and_(Job.status == literal_column("'queued'"), Job.waits_for.is_not(None))
    return sum(_count(session, and_(Job.owner_id == user_id, part)) for part in (IN_LINE, waits))


def _count(session: Session, condition: ColumnElement[bool]) -> int:
    return session.scalars(select(func.count()).select_from(Job).where(condition)).one()


def _counted(count: int, noun: str) -> str:
    return f"{count} {noun}{'' if count == 1 else 's'}"


def _columns(table: Any) -> list[Any]:
    return [getattr(table, name) for name in NAMES]


def _with_priority(limits: Limits, highest: str) -> Limits:
    return replace(limits, priority=limits.priority or highest)
