"""Connections."""

from datetime import UTC, datetime

import psycopg
import pytest
from sqlalchemy import text
from sqlalchemy.orm import Session, sessionmaker

from normlab.stack.servers import Postgres
from store.db.engine import DATABASE_AWAY, database_now, make_engine
from store.db.models import Job
from tests.support.factories import make_job, set_job

Sessions = sessionmaker[Session]


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
