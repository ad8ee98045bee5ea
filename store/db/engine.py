"""Connections to PostgreSQL, its clock, and its notifications."""

import json
import select as readiness
import time
from collections.abc import Iterable
from datetime import datetime
from typing import Any

from psycopg import Connection
from psycopg.errors import IdleInTransactionSessionTimeout, QueryCanceled
from sqlalchemy import (
    ARRAY,
    Engine,
    ExceptionContext,
    Text,
    bindparam,
    cast,
    create_engine,
    event,
    func,
    select,
)
from sqlalchemy.engine import make_url
from sqlalchemy.exc import InterfaceError, InvalidatePoolError, OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeout
from sqlalchemy.orm import Session, sessionmaker

#: Receives the id of every job that changed, in the transaction that changed it.
JOBS_CHANNEL = "normlab_jobs"

#: What is raised when the database can't be reached or went away: the same work may be tried again.
DATABASE_AWAY = (OperationalError, InterfaceError, PoolTimeout)

# A process that hangs inside a transaction must not hold everybody's locks for long. Nor may a machine that
# vanished: the server's own keepalives end its sessions, and with them their locks, within 25 seconds.
# To start parallel workers or to compile a query takes longer than any statement of ours needs.
_OPTIONS = (
    "-c max_parallel_workers_per_gather=0 -c jit=off "
    "-c timezone=UTC -c idle_in_transaction_session_timeout=60000 -c lock_timeout=20000 "
    "-c application_name=normlab -c tcp_keepalives_idle=10 -c tcp_keepalives_interval=5 "
    "-c tcp_keepalives_count=3"
)

# A server or network that vanished without a word is noticed within a minute, not after hours: a lease's
# renewal, a request to stop and a parent's watch over its children all wait for an answer. Unix sockets ignore it.
_KEEPALIVES = {
    "keepalives_idle": 10,
    "keepalives_interval": 5,
    "keepalives_count": 3,
    "tcp_user_timeout": 25_000,
}

# Made once, since every change of a job executes one of them.
_CLOCK = select(func.clock_timestamp())
#: Takes the job's id as the text `job`.
CLOCK_AND_NOTIFY = _CLOCK.add_columns(func.pg_notify(JOBS_CHANNEL, bindparam("job", type_=Text)))


#: A pooled connection that was used more recently is not pinged, unless its socket has input.
_TRUSTED_SECONDS = 1.0
_USED_AT = "used_at"


def make_engine(url: str, *, pool_size: int = 5, statement_seconds: float | None = None) -> Engine:
    """An engine on psycopg, each statement of which may take so long; a plain `postgresql://` URL is one for psycopg, too.

    Connections that died are replaced when taken from the pool. A fork must not share an engine.
    """
    address = make_url(url)
    if address.get_backend_name() == "postgresql":
        address = address.set(drivername="postgresql+psycopg")
    options = _OPTIONS
    if statement_seconds is not None:
        options += f" -c statement_timeout={round(1000 * statement_seconds)}"
    engine = create_engine(
        address,
        pool_size=pool_size,
        pool_timeout=10,
        connect_args={"connect_timeout": 5, "options": options, **_KEEPALIVES},
        json_serializer=_dump_json,
    )
    _replace_dead_connections(engine)
    _execute_one_by_one(engine)
    event.listen(engine, "handle_error", _recognize_ended_session)
    return engine


def was_too_slow(error: Exception) -> bool:
    """Whether PostgreSQL stopped the statement at its `statement_seconds`."""
    return isinstance(error, OperationalError) and isinstance(error.orig, QueryCanceled)


def make_sessions(engine: Engine) -> sessionmaker[Session]:
    """Sessions whose rows stay readable after the commit."""
    return sessionmaker(engine, expire_on_commit=False)


def make_readers(sessions: sessionmaker[Session]) -> sessionmaker[Session]:
    """Sessions of the same pool in which each statement is a transaction of its own: for a single statement, which
    then needs neither BEGIN nor COMMIT."""
    engine: Engine = sessions.kw["bind"]
    return make_sessions(engine.execution_options(isolation_level="AUTOCOMMIT"))


def database_now(session: Session) -> datetime:
    """The database's clock at this moment, not at the transaction's start."""
    # What is pending is not written for this question: a row could be written before it knows its time, and would
    # be written again.
    with session.no_autoflush:
        now: datetime = session.scalars(_CLOCK).one()
    return now


def notify(session: Session, channel: str, payload: str) -> None:
    """Notify the channel's listeners once this transaction is committed."""
    session.execute(select(func.pg_notify(channel, payload)))


def notify_job(session: Session, job_id: int) -> datetime:
    """Notify the listeners on jobs once this transaction is committed; the database's clock at this moment."""
    with session.no_autoflush:
        now: datetime = session.execute(CLOCK_AND_NOTIFY, {"job": str(job_id)}).one()[0]
    return now


def notify_jobs(session: Session, job_ids: Iterable[int]) -> None:
    """`notify` for many jobs in one statement."""
    texts = cast([str(job_id) for job_id in job_ids], ARRAY(Text))
    ids = func.unnest(texts).column_valued("id")
    session.execute(select(func.pg_notify(JOBS_CHANNEL, ids)))


def _replace_dead_connections(engine: Engine) -> None:
    """Pings a pooled connection before it is used again, but not where that would tell nothing new: SQLAlchemy's
    `pool_pre_ping` costs a round trip for each of a request's transactions."""

    def note_use(_: Any, record: Any) -> None:
        record.info[_USED_AT] = time.monotonic()

    def ping(connection: Any, record: Any, _: Any) -> None:
        used_at = record.info.get(_USED_AT)
        if used_at is None:
            return
        # A server that restarts or ends a session closes its socket, which shows as input. A network that fails
        # silently does not, hence the ping after a while without use.
        is_trusted = time.monotonic() - used_at < _TRUSTED_SECONDS
        if is_trusted and not _has_input(connection):
            return
        try:
            engine.dialect.do_ping(connection)
        except engine.dialect.loaded_dbapi.Error as error:
            if engine.dialect.is_disconnect(error, connection, None):
                raise InvalidatePoolError from error
            raise

    event.listen(engine, "checkin", note_use)
    event.listen(engine, "checkout", ping)


def _execute_one_by_one(engine: Engine) -> None:
    """Sends the rows of an `executemany` one after the other.

    psycopg would send them in pipeline mode, in which PostgreSQL counts a session that waits for the next row as
    active: one whose client hangs there would never reach its `idle_in_transaction_session_timeout`, and hold its
    locks for good.
    """

    def execute(cursor: Any, statement: str, parameters: Iterable[Any], _: Any) -> bool:
        for row in parameters:
            cursor.execute(statement, row)
        return True

    event.listen(engine, "do_executemany", execute)
    # What the cursor counts are now the rows of the last of them.
    engine.dialect.supports_sane_multi_rowcount = False


def _recognize_ended_session(context: ExceptionContext) -> OperationalError | None:
    """psycopg has another class for the end of a session that was idle in a transaction for too long: its client hung,
    such as a suspended machine, and may do the same again."""
    error = context.original_exception
    if not isinstance(error, IdleInTransactionSessionTimeout):
        return None
    return OperationalError(
        context.statement, context.parameters, error, connection_invalidated=True
    )


def _has_input(connection: Connection) -> bool:
    """Whether the server has sent something unasked, or has closed its side."""
    if connection.closed:
        return True
    poll = readiness.poll()
    poll.register(connection.fileno(), readiness.POLLIN)
    return bool(poll.poll(0))


def _dump_json(value: Any) -> str:
    return json.dumps(value, allow_nan=False)
