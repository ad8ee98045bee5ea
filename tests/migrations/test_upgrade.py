"""A stack that stopped with the first migration's tables goes on with today's: nothing is lost, all is read."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient
from sqlalchemy import Connection, Engine, text
from sqlalchemy.orm import Session, sessionmaker

from api.app import make_app
from api.settings import Settings
from migrations import __main__ as migrations_main
from migrations.roles import connect
from migrations.run import downgrade, upgrade
from normlab.stack.servers import Postgres
from store.db.engine import make_engine, make_sessions
from store.db.models import FINAL_STATUSES, Job
from store.jobs import commands, leases
from tests.support.factories import acquire_job, make_worker
from trainer.events import EpochFinished

FIRST_ROWS = (Path(__file__).parent / "first_rows.sql").read_bytes()
#: What that file says of each job, by its name.
WAITING = {"queued": 0, "running": 1, "paused": 1}
ENDED = {
    "succeeded": ("succeeded", "completed"),
    "diverged": ("succeeded", "diverged"),
    "failed": ("failed", "oom"),
    "cancelled": ("cancelled", "cancelled"),
}
TOKEN = "nl_a-token-from-before-the-upgrade-of-32-characters"
#: Tables of the first migration whose rows nothing but a job's work may change.
COUNTED = (
    "users", "tokens", "projects", "studies", "jobs", "attempts", "epochs", "checkpoints", "files", "leases",
    "log_lines", "transitions", "mirrored",
)  # fmt: skip


@pytest.fixture(scope="module")
def engine(postgres: Postgres) -> Iterator[Engine]:
    postgres.create_databases("upgraded")
    url = postgres.url("upgraded")
    downgrade(url)
    engine = make_engine(url)
    yield engine
    engine.dispose()


@pytest.fixture
def upgraded(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> sessionmaker[Session]:
    """Tables of the first migration with a job in every status, brought to the present as `up` does."""
    url = engine.url.render_as_string(hide_password=False)
    downgrade(url)
    upgrade(url, "0001")
    with connect(url) as connection:
        connection.execute(FIRST_ROWS)
    with engine.connect() as connection:
        before = counts(connection)
    monkeypatch.setenv("NORMLAB_DATABASE_URL", url)
    migrations_main.main(["upgrade"])
    with engine.connect() as connection:
        assert counts(connection) == before
        assert all(before.values())
    return make_sessions(engine)


def counts(connection: Connection) -> dict[str, int]:
    return {table: connection.scalar(text(f"SELECT count(*) FROM {table}")) for table in COUNTED}


def jobs_by_name(session: Session) -> dict[str, Job]:
    return {job.name: job for job in commands.list_jobs(session).items}


def acquire(session: Session) -> commands.Assignment | None:
    return acquire_job(session, "new")


def test_every_job_is_read_as_it_was(upgraded: sessionmaker[Session]) -> None:
    with upgraded() as session:
        rows = jobs_by_name(session)
        assert {name: rows[name].attempt for name in WAITING} == WAITING
        assert {name: (rows[name].status, rows[name].reason) for name in ENDED} == ENDED
        assert rows["diverged"].non_finite == {"test_loss": "nan"}
        assert rows["succeeded"].metrics["test_accuracy"] == 0.9


def test_what_ran_is_returned_and_goes_on_from_its_checkpoint(
    upgraded: sessionmaker[Session],
) -> None:
    with upgraded.begin() as session:
        running, queued = (jobs_by_name(session)[name].id for name in ("running", "queued"))
        assert leases.release_expired(session) == [running]
    with upgraded.begin() as session:
        make_worker(session, "new", cpu=3)
        first, second, third = (acquire(session) for _ in range(3))
    assert first is not None
    assert second is not None
    assert third is None
    assert (first.job_id, first.attempt) == (running, 2)
    assert [(saved.kind, saved.step) for saved in first.checkpoints] == [("last", 20), ("best", 10)]
    assert (second.job_id, second.attempt) == (queued, 1)
    with upgraded.begin() as session:
        for assignment in (first, second):
            epoch = EpochFinished(3, 30, {"val_loss": 0.1}, best=True, seconds=1.0)
            commands.record_epoch(session, assignment.job_id, assignment.attempt, epoch)
            commands.finish(
                session, assignment.job_id, assignment.attempt, reason="completed", metrics={}
            )
        commands.resume(session, jobs_by_name(session)["paused"], "ada")
    with upgraded.begin() as session:
        resumed = acquire(session)
        assert resumed is not None
        commands.finish(session, resumed.job_id, resumed.attempt, reason="completed", metrics={})
    with upgraded() as session:
        assert {job.status for job in jobs_by_name(session).values()} == set(FINAL_STATUSES)


class NoChecker:
    """Reading needs no check of specs, and the process that does them takes seconds to start."""

    is_ready = False

    def __init__(self, **limits: float) -> None: ...
    def start(self) -> None: ...
    def close(self) -> None: ...


def test_the_api_shows_them_to_who_had_a_token(
    upgraded: sessionmaker[Session],
    engine: Engine,
    redis_url: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("api.app.Checker", NoChecker)
    url = engine.url.render_as_string(hide_password=False)
    settings = Settings(database_url=url, redis_url=redis_url, storage=tmp_path)
    headers = {"Authorization": f"Bearer {TOKEN}"}
    with TestClient(make_app(settings), headers=headers) as client:

        def get(path: str) -> Any:
            answer = client.get(f"/api/v1/{path}")
            assert answer.status_code == 200, answer.text
            return answer.json()

        (study,) = get("studies")["items"]
        assert study["status"] == "running"
        rows = {row["name"]: row for row in get(f"studies/{study['id']}/jobs")["items"]}
        assert set(rows) == {*WAITING, *ENDED}
        job = get(f"jobs/{rows['running']['id']}")
        assert (job["status"], job["spec"]["model"]["name"]) == ("running", "mlp")
        for part, count in {"epochs": 2, "attempts": 1, "logs": 1, "checkpoints": 2}.items():
            assert len(get(f"jobs/{job['id']}/{part}")["items"]) == count
        assert get(f"studies/{study['id']}/comparison")["metric"] == "test_accuracy"
        assert len(get("results")["items"]) == 7
