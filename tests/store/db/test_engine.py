"""Connections."""

from dataclasses import dataclass
from datetime import UTC, datetime

import psycopg
import pytest
from psycopg.adapt import Dumper
from sqlalchemy import text
from sqlalchemy.orm import Session, sessionmaker

from normlab.stack.servers import Postgres
from store.db.engine import DATABASE_AWAY, database_now, make_engine
from store.db.models import Job
from tests.support.factories import make_job, set_job
from tests.support.waiting import wait_for

Sessions = sessionmaker[Session]


@dataclass(frozen=True)
class Row:
    """A value of the session of this process."""

    process: int


def test_times_are_aware_and_utc(sessions: Sessions) -> None:
    with sessions.begin() as session:
        now = database_now(session)

    assert now.utcoffset() == datetime.now(UTC).utcoffset()
    assert abs((datetime.now(UTC) - now).total_seconds()) < 60


def test_a_url_without_a_driver_works(database_url: str) -> None:
    engine = make_engine(database_url.replace("postgresql+psycopg", "postgresql"))
    with engine.connect() as connection:
        assert connection.scalar(text("SELECT 1")) == 1
    engine.dispose()


def test_no_number_that_is_not_finite_gets_into_json(sessions: Sessions) -> None:
    with sessions.begin() as session:
        job = make_job(session)
    with sessions() as session, pytest.raises(ValueError, match="not JSON compliant"):
        set_job(session, job.id, metrics={"test_loss": float("nan")})


def test_rows_stay_readable_after_the_commit(sessions: Sessions) -> None:
    with sessions.begin() as session:
        job = make_job(session)

    assert isinstance(job, Job)
    assert (job.status, job.attempt) == ("queued", 0)
    assert job.created_at is not None


def test_a_connection_that_died_is_replaced(sessions: Sessions, database_url: str) -> None:
    engine = make_engine(database_url)
    with engine.connect() as connection:
        process = connection.scalar(text("SELECT pg_backend_pid()"))
    with sessions.begin() as session:
        # Waits until the process has ended.
        ending = text("SELECT pg_terminate_backend(:process, 60000)")
        assert session.scalar(ending, {"process": process})
    with engine.connect() as connection:
        assert connection.scalar(text("SELECT 1")) == 1
    engine.dispose()


def test_an_absent_database_is_known_as_such(postgres: Postgres) -> None:
    url = postgres.url("normlab").replace(str(postgres.sockets), "/nowhere")
    engine = make_engine(url)
    with pytest.raises(DATABASE_AWAY), engine.connect():
        pass
    engine.dispose()


def test_a_connection_whose_other_end_vanished_is_given_up_within_a_minute(
    database_url: str,
) -> None:
    engine = make_engine(database_url)
    with engine.connect() as connection:
        driver = connection.connection.dbapi_connection
        assert isinstance(driver, psycopg.Connection)
        set_up = {
            name: int(value)
            for name, value in driver.info.get_parameters().items()
            if value.isdigit()
        }
    engine.dispose()
    probing = set_up["keepalives_interval"] * set_up["keepalives_count"]
    assert set_up["keepalives_idle"] + probing <= 60
    assert set_up["tcp_user_timeout"] <= 60_000


def test_a_client_that_hangs_among_many_rows_is_idle_to_the_server(database_url: str) -> None:
    """Or `idle_in_transaction_session_timeout` would not end its transaction, and its locks would stay."""
    states = []

    class Looking(Dumper):
        """Asks what the server takes the session for before it hands out the next value."""

        def dump(self, obj: Row) -> bytes:
            query = text("SELECT state FROM pg_stat_activity WHERE pid = :process")
            with observer.connect() as other:
                states.append(other.scalar(query, {"process": obj.process}))
            return b"1"

    engine, observer = make_engine(database_url), make_engine(database_url)
    with engine.connect() as connection:
        process = connection.scalar(text("SELECT pg_backend_pid()"))
        connection.execute(text("CREATE TEMPORARY TABLE seen (number integer)"))
        driver = connection.connection.dbapi_connection
        assert isinstance(driver, psycopg.Connection)
        driver.adapters.register_dumper(Row, Looking)
        rows = [{"row": Row(process)} for _ in range(3)]
        connection.execute(text("INSERT INTO seen VALUES (CAST(:row AS integer))"), rows)
        assert connection.scalar(text("SELECT count(*) FROM seen")) == 3
    engine.dispose()
    observer.dispose()
    assert states == ["idle in transaction"] * 3


def test_a_session_that_the_server_ended_in_a_transaction_is_an_absent_database(
    database_url: str, sessions: Sessions
) -> None:
    """Whoever stood still for long, such as a suspended machine, does the same again."""
    engine = make_engine(database_url)
    with engine.connect() as connection:
        process = connection.scalar(text("SELECT pg_backend_pid()"))
        connection.execute(text("SET idle_in_transaction_session_timeout = 1"))
        alive = text("SELECT count(*) FROM pg_stat_activity WHERE pid = :process")

        def has_ended() -> bool:
            # A transaction sees the sessions as they were when it first looked.
            with sessions.begin() as session:
                return session.scalar(alive, {"process": process}) == 0

        wait_for(has_ended, "its end")
        with pytest.raises(DATABASE_AWAY):
            connection.execute(text("SELECT 1"))
    with engine.connect() as connection:
        assert connection.scalar(text("SELECT 1")) == 1
    engine.dispose()
