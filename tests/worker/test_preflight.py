"""Whether a worker could start: said in words before it is tried."""

from pathlib import Path

from sqlalchemy import Engine
from sqlalchemy.orm import Session, sessionmaker

from runtime.storage import FolderStorage
from store.hosts import adopt_storage
from worker.preflight import problems
from worker.settings import Settings


def found(database: str, redis: str, storage: Path) -> list[str]:
    return list(problems(Settings(database_url=database, redis_url=redis, storage=storage)))


def test_nothing_is_said_of_a_host_that_can_work(
    sessions: sessionmaker[Session], worker_database_url: str, redis_url: str, tmp_path: Path
) -> None:
    adopt_storage(sessions, FolderStorage(tmp_path))
    assert found(worker_database_url, redis_url, tmp_path) == []


def test_a_role_that_may_not_work_and_a_broker_that_is_away_are_said(
    engine: Engine, api_database_url: str, tmp_path: Path
) -> None:
    role, broker = found(api_database_url, "redis://127.0.0.1:1/0", tmp_path)
    assert role.startswith("the role normlab_api can't work on jobs")
    assert broker.startswith("Redis can't be reached (NORMLAB_REDIS_URL)")


def test_a_storage_that_is_another_is_said(
    sessions: sessionmaker[Session], worker_database_url: str, redis_url: str, tmp_path: Path
) -> None:
    adopt_storage(sessions, FolderStorage(tmp_path / "shared"))
    (refused,) = found(worker_database_url, redis_url, tmp_path / "own")
    assert "is not this database's storage" in refused


def test_a_database_without_tables_is_said(
    database_url: str, redis_url: str, tmp_path: Path
) -> None:
    (missing,) = found(database_url.replace("/normlab?", "/postgres?"), redis_url, tmp_path)
    assert "run `python -m migrations` first" in missing
