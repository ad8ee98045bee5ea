"""What maintenance reads, checks and deletes: open attempts, use, old keys, paths, and checkpoints that ended jobs would
resume from."""

from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import (
    ARRAY,
    BigInteger,
    ColumnElement,
    Connection,
    Engine,
    and_,
    any_,
    delete,
    func,
    not_,
    select,
    text,
    union_all,
)
from sqlalchemy.orm import Session, aliased

from store.catalog import initial_weights
from store.db import FINAL_STATUSES, Attempt, Checkpoint, Deletion, File, IdempotencyKey, Job
from store.hosts import Stored
from store.jobs import usage

#: PostgreSQL's advisory lock of the one sweep.
LOCK = 0x6E6F726D_7377

#: Of the kept use of a person, which is rounded at each end of an attempt.
USAGE_TOLERANCE = 1e-6

#: A failed or cancelled job that is retried sooner goes on from its last checkpoint.
CHECKPOINTS_KEPT = timedelta(days=7)
#: Rows of one transaction.
CHECKPOINTS_AT_ONCE = 1000


@dataclass(frozen=True, slots=True)
class OpenAttempt:
    """An attempt that has not been ended, and the process that holds it."""

    job_id: int
    number: int
    process: int


@dataclass(frozen=True, slots=True)
class EndedAttempt:
    """An attempt that has ended, as its trace tells it."""

    job_id: int
    number: int
    host: str
    end: str
    started_at: datetime
    ended_at: datetime
    queued_at: datetime
    study_id: int | None
    trace_context: str


@dataclass(frozen=True, slots=True)
class Removed:
    """`stored`: how many rows, and the bytes of files that no row names any more, which are `paths`, relative to the
    storage."""

    stored: Stored
    paths: Sequence[str]


@contextmanager
def sweep_lock(engine: Engine) -> Iterator[Connection | None]:
    """The connection that holds the lock of the one sweep, as long as it lives; None: another has it."""
    with engine.connect() as pooled:
        # Without a transaction: one that stays open would hold back the vacuum and be timed out.
        connection = pooled.execution_options(isolation_level="AUTOCOMMIT")
        held = connection.scalar(select(func.pg_try_advisory_lock(LOCK)))
        try:
            yield connection if held else None
        finally:
            # Never back to the pool with the lock.
            connection.invalidate()


def check_alive(connection: Connection) -> None:
    """Raises one of DATABASE_AWAY when the connection, and with it its lock, is lost."""
    connection.execute(text("SELECT 1"))


def seconds_since_start(session: Session) -> float:
    """How long the database server has been up."""
    age = func.extract("epoch", func.clock_timestamp() - func.pg_postmaster_start_time())
    return float(session.scalars(select(age)).one())


def open_attempts(session: Session, host: str, instance: str | None = None) -> list[OpenAttempt]:
    """What processes of this host's worker hold, or held when they died."""
    query = (
        select(Attempt.job_id, Attempt.number, Attempt.process)
        .join(Job, (Job.id == Attempt.job_id) & (Job.attempt == Attempt.number))
        .where(
            Attempt.host == host,
            Attempt.instance.is_not_distinct_from(instance),
            Attempt.ended_at.is_(None),
            Job.status == "running",
        )
        .order_by(Attempt.job_id)
    )
    return [OpenAttempt(*row) for row in session.execute(query)]


def read_traced(session: Session, job_ids: Collection[int]) -> list[EndedAttempt]:
    """The newest attempts of those of these jobs that are traced, where they have ended."""
    if not job_ids:
        return []
    query = (
        select(
            Attempt.job_id,
            Attempt.number,
            Attempt.host,
            Attempt.end,
            Attempt.started_at,
            Attempt.ended_at,
            Job.queued_at,
            Job.study_id,
            Job.trace_context,
        )
        .join(Job, (Job.id == Attempt.job_id) & (Job.attempt == Attempt.number))
        .where(Job.id.in_(job_ids), Job.trace_context.is_not(None), Attempt.end.is_not(None))
        .order_by(Job.id)
    )
    return [EndedAttempt(**row) for row in session.execute(query).mappings()]


def delete_old_keys(session: Session, older_than: timedelta) -> int:
    """Idempotency keys past their time; how many they were."""
    before = func.clock_timestamp() - older_than
    query = delete(IdempotencyKey).where(IdempotencyKey.created_at < before)
    return len(session.execute(query.returning(IdempotencyKey.key)).all())


def check_usage(session: Session) -> float:
    """Compare everybody's kept use with the sum over all attempts, and make it anew where it differs.

    Returns the largest relative difference; no way for an attempt to end should make one.
    """
    difference = usage.drift(session)
    if difference > USAGE_TOLERANCE:
        usage.rebuild(session)
    return difference


def settled_jobs(session: Session, job_ids: Collection[int]) -> set[int]:
    """The ids of these jobs for which no process is writing files; deleted ones as well."""
    settled = select(Job.id).where(Job.id.in_(job_ids), Job.status != "running")
    deleted = select(Deletion.subject_id).where(
        Deletion.kind == "job", Deletion.subject_id.in_(job_ids)
    )
    return set(session.scalars(union_all(settled, deleted)))


def named_paths(session: Session, job_ids: Collection[int]) -> set[str]:
    """Every file, relative to the storage, that a row of these jobs names, or one of a job that they answer."""
    # An array, for which PostgreSQL searches the index: for a subquery beside an `OR` it reads the whole table.
    own = select(Job.id).where(Job.id.in_(job_ids))
    answered = select(Job.id).where(Job.reused_from.in_(job_ids))
    ids = func.array(union_all(own, answered).scalar_subquery(), type_=ARRAY(BigInteger))
    query = union_all(
        *(select(table.path).where(table.job_id == any_(ids)) for table in (Checkpoint, File))
    )
    return set(session.scalars(query))


def measure_checkpoints(session: Session, kept: timedelta = CHECKPOINTS_KEPT) -> Stored:
    """What `remove_checkpoints` would find, of jobs that ended longer ago than `kept`; files that several jobs share are
    counted once."""
    total = func.coalesce(func.sum(Checkpoint.bytes), 0)
    statement = select(func.count(), total).join_from(Checkpoint, Job).where(_may_go(kept))
    statement = statement.where(Job.reused_from.is_(None))
    count, size = session.execute(statement).one()
    return Stored(count, int(size))


def remove_checkpoints(session: Session, kept: timedelta = CHECKPOINTS_KEPT) -> Removed:
    """Removes the rows of at most `CHECKPOINTS_AT_ONCE` checkpoints; their files may be deleted after the commit."""
    chosen = (
        select(Checkpoint.id)
        .join_from(Checkpoint, Job)
        .where(_may_go(kept))
        .order_by(Checkpoint.id)
        .limit(CHECKPOINTS_AT_ONCE)
        # A job that is being retried at this moment keeps its checkpoint, and so does one that is about to answer an
        # equal one: that one refers to it, which locks its key.
        .with_for_update(of=Job, skip_locked=True)
    )
    statement = delete(Checkpoint).where(Checkpoint.id.in_(chosen))
    rows = session.execute(
        statement.returning(Checkpoint.job_id, Checkpoint.path, Checkpoint.bytes)
    ).all()
    if not rows:
        return Removed(Stored(), ())
    # A job that an equal one answered names the files of that one.
    ids = {row.job_id for row in rows}
    sources = session.scalars(select(Job.reused_from).where(Job.id.in_(ids)))
    named = named_paths(session, ids | {one for one in sources if one is not None})
    sizes = {row.path: row.bytes for row in rows if row.path not in named}
    return Removed(Stored(len(rows), sum(sizes.values())), sorted(sizes))


def _may_go(kept: timedelta) -> ColumnElement[bool]:
    newer = aliased(Checkpoint)
    is_superseded = (
        select(newer.id)
        .where(newer.job_id == Checkpoint.job_id, newer.kind == "best", newer.id > Checkpoint.id)
        .exists()
    )
    return and_(
        (Checkpoint.kind == "last") | is_superseded,
        Job.status.in_(FINAL_STATUSES),
        Job.finished_at < func.clock_timestamp() - kept,
        not_(initial_weights.is_awaited(Checkpoint.job_id)),
    )
