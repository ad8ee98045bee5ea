"""What maintenance reads, checks and deletes: open attempts, use, old keys, paths."""

from collections.abc import Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta

from sqlalchemy import (
    ARRAY,
    BigInteger,
    Connection,
    Engine,
    any_,
    delete,
    func,
    select,
    text,
    union_all,
)
from sqlalchemy.orm import Session

from store.db import Attempt, Checkpoint, File, IdempotencyKey, Job
from store.jobs import usage

#: PostgreSQL's advisory lock of the one sweep.
LOCK = 0x6E6F726D_7377

#: Of the kept use of a person, which is rounded at each end of an attempt.
USAGE_TOLERANCE = 1e-6


@dataclass(frozen=True, slots=True)
class OpenAttempt:
    """An attempt that has not been ended, and the process that holds it."""

    job_id: int
    number: int
    process: int


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
    """The ids of these jobs for which no process is writing files."""
    query = select(Job.id).where(Job.id.in_(job_ids), Job.status != "running")
    return set(session.scalars(query))


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
