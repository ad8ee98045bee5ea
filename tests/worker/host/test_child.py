"""What a child does with a wake-up."""

import os
from pathlib import Path

import pytest
from sqlalchemy import text
from sqlalchemy.orm import Session, sessionmaker

from store.db.models import Job
from store.hosts import host_health, host_views
from store.jobs import Assignment, Settled, commands, leases, wakeups
from tests.support.factories import make_job, make_worker
from worker.execution.context import Drain
from worker.host import child as module
from worker.host.child import Child
from worker.host.gpus import FakeGpus, GpuWatch
from worker.settings import Settings


@pytest.mark.parametrize(("is_orphan", "acquired"), [(False, 1), (True, 0)])
def test_a_child_acquires_jobs_while_its_parent_lives(
    sessions: sessionmaker[Session],
    worker_database_url: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    is_orphan: bool,
    acquired: int,
) -> None:
    monkeypatch.setattr(module, "execute", lambda *_: True)
    with sessions.begin() as session:
        make_worker(session)
        job = make_job(session)
    Child(make_settings(worker_database_url, tmp_path), Drain(), os.getppid() + is_orphan).work()
    with sessions.begin() as session:
        assert session.get_one(Job, job.id).attempt == acquired


def test_a_child_says_what_others_use_of_a_gpu_before_it_acquires_and_ends_when_idle(
    sessions: sessionmaker[Session],
    worker_database_url: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    acquired: list[Assignment] = []
    monkeypatch.setattr(module, "execute", lambda job, *_: acquired.append(job) or True)
    (tmp_path / "gpus.json").write_text('[{"name": "a GPU", "memory_bytes": 24000000000}]')
    gpus = FakeGpus(tmp_path / "gpus.json")
    with sessions.begin() as session:
        devices = [("cuda", 0, "a GPU", 4)]
        leases.register_worker(session, "alpha", 1, devices, memory={0: 24_000_000_000})
        job = make_job(session, resources={"device": "cuda"})
    watch = GpuWatch(gpus, gpus.find(), os.getppid())
    settings = make_settings(worker_database_url, tmp_path)
    child = Child(settings, Drain(), os.getppid(), None, watch)
    ended = []
    monkeypatch.setattr(child, "_exit_process", lambda: ended.append(True))
    child.work()
    assert [one.job_id for one in acquired] == [job.id]
    # Its CUDA context would stay, where nobody has booked it.
    assert ended == [True]


def test_a_child_asks_again_after_a_job_that_was_answered(
    sessions: sessionmaker[Session],
    worker_database_url: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    found: list[Settled | None] = [Settled(1), Settled(2), None]
    monkeypatch.setattr(commands, "acquire", lambda *_, **__: found.pop(0))
    with sessions.begin() as session:
        make_worker(session)

    Child(make_settings(worker_database_url, tmp_path), Drain(), os.getppid()).work()

    assert found == []


def test_a_child_without_room_acquires_nothing_and_passes_its_wake_up_on(
    sessions: sessionmaker[Session],
    worker_database_url: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(module, "execute", lambda *_: True)
    with sessions.begin() as session:
        make_worker(session, "alpha")
        make_worker(session, "beta")
        job = make_job(session)
    # A threshold above what the disk has: as full as a disk can be for a test.
    settings = make_settings(worker_database_url, tmp_path, min_free_mb=1e12)
    child = Child(settings, Drain(), os.getppid())
    woken = []
    monkeypatch.setattr(child._waker, "wake", lambda: woken.append(True))
    child.work()
    with sessions.begin() as session:
        assert session.get_one(Job, job.id).attempt == 0
        assert wakeups.due(session) == {"beta": 1}
        [alpha, _] = host_views.workers_view(session)
    assert woken == [True]
    assert alpha.shortage is not None
    assert alpha.shortage["folder"] == str(tmp_path)


@pytest.mark.parametrize("is_held", [True, False])
def test_only_a_child_whose_host_is_held_passes_its_wake_up_on(
    sessions: sessionmaker[Session],
    worker_database_url: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    is_held: bool,
) -> None:
    with sessions.begin() as session:
        make_worker(session, "alpha")
        if is_held:
            make_job(session)
            host_health.hold(session, "alpha", None)
    child = Child(make_settings(worker_database_url, tmp_path), Drain(), os.getppid())
    woken = []
    monkeypatch.setattr(child._waker, "wake", lambda: woken.append(True))
    child.work()
    assert woken == [True] * is_held


def test_a_child_keeps_one_connection_however_many_it_used_at_once(
    worker_database_url: str, tmp_path: Path
) -> None:
    sessions = Child(make_settings(worker_database_url, tmp_path), Drain(), os.getppid())._sessions
    with sessions.begin() as one, sessions.begin() as other:
        for session in (one, other):
            session.execute(text("SELECT 1"))
    assert sessions.kw["bind"].pool.checkedin() == 1


def make_settings(worker_database_url: str, storage: Path, min_free_mb: float = 0.0) -> Settings:
    return Settings(
        database_url=worker_database_url,
        redis_url="redis://127.0.0.1:1/0",
        storage=storage,
        host_name="alpha",
        min_free_mb=min_free_mb,
    )
