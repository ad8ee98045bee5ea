"""What a child does with a wake-up."""

import os
from pathlib import Path

import pytest
from sqlalchemy.orm import Session, sessionmaker

from store.models import Job
from tests.factories import make_job, make_worker
from worker import tasks
from worker.drain import Drain
from worker.settings import Settings
from worker.tasks import Child


@pytest.mark.parametrize(("is_orphan", "claimed"), [(False, 1), (True, 0)])
def test_a_child_claims_while_its_parent_lives(
    sessions: sessionmaker[Session],
    database_url: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    is_orphan: bool,
    claimed: int,
) -> None:
    monkeypatch.setattr(tasks, "execute", lambda *_: True)
    with sessions.begin() as session:
        make_worker(session)
        job = make_job(session)
    settings = Settings(
        database_url=database_url,
        redis_url="redis://127.0.0.1:1/0",
        storage=tmp_path,
        host_name="alpha",
    )
    Child(settings, Drain(), os.getppid() + is_orphan).work()
    with sessions.begin() as session:
        assert session.get_one(Job, job.id).attempt == claimed
