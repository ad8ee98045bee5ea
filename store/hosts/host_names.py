"""Which worker may use a host's name: an advisory lock in a dedicated session, and the worker's row.

The lock prevents two workers from using a name at the same time; the row says which one owns it. A worker that has
lost its session still owns the name, unless another instance has registered since.
"""

import hashlib
from dataclasses import dataclass
from datetime import datetime, timedelta

import psycopg
from sqlalchemy import Connection, func, select, text

from store.db import Worker, make_engine
from store.hosts.host_health import SEEN_SECONDS


@dataclass(frozen=True, slots=True)
class Holder:
    """The worker that registered last under a host's name.

    `may_live`: it has not reported its end, and was seen since the server's start or shortly before
    (`SEEN_SECONDS`): it could be a live worker that has lost its session and is about to take the lock again.
    """

    instance: str | None
    process: int
    machine: str | None
    namespace: str | None
    address: str | None
    started_at: datetime
    seen_seconds_ago: float
    has_ended: bool
    may_live: bool


class NameSession:
    """One session of PostgreSQL, outside any pool; the lock that it holds ends with it.

    Methods raise one of DATABASE_AWAY when the session is gone.
    """

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def try_lock(self, host: str) -> bool:
        """Whether the name is free, and this session's from now on."""
        return bool(self._connection.scalar(select(func.pg_try_advisory_lock(_key(host)))))

    def unlock(self, host: str) -> None:
        self._connection.execute(select(func.pg_advisory_unlock(_key(host))))

    def find_holder(self, host: str) -> Holder | None:
        """None before the first worker of this name."""
        now = func.clock_timestamp()
        last_sign = func.greatest(Worker.seen_at, func.pg_postmaster_start_time())
        statement = select(
            Worker.instance,
            Worker.process,
            Worker.machine,
            Worker.namespace,
            Worker.address,
            Worker.started_at,
            func.extract("epoch", now - Worker.seen_at),
            Worker.ended_at.is_not(None),
            Worker.ended_at.is_(None) & (last_sign > now - timedelta(seconds=SEEN_SECONDS)),
        ).where(Worker.host == host)
        row = self._connection.execute(statement).one_or_none()
        return None if row is None else Holder(*row)

    def fileno(self) -> int:
        """Of its socket, which can be read from when the server has ended the session."""
        driver = self._connection.connection.dbapi_connection
        assert isinstance(driver, psycopg.Connection)
        return driver.fileno()

    def close(self) -> None:
        """Also closes what is broken; the lock is free afterwards, or once the server has noticed."""
        # Never given back to a pool, which would keep the session and its lock.
        self._connection.invalidate()
        self._connection.close()


def open_session(url: str) -> NameSession:
    """Raises one of DATABASE_AWAY."""
    engine = make_engine(url, pool_size=1)
    # Without a transaction: one that stays open would hold back the vacuum and be timed out.
    connection = engine.connect().execution_options(isolation_level="AUTOCOMMIT")
    # A server may end idle sessions; this one is idle by design.
    connection.execute(text("SET idle_session_timeout = 0"))
    return NameSession(connection)


def _key(host: str) -> int:
    """An advisory lock's key: 64 bits, signed."""
    digest = hashlib.blake2b(host.encode(), digest_size=8, person=b"normlab host").digest()
    return int.from_bytes(digest, signed=True)
