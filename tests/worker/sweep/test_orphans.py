"""What nobody needs is deleted, what somebody may need is not."""

import os
import time
from pathlib import Path

import pytest
from sqlalchemy.orm import Session, sessionmaker

from runtime.storage import FolderStorage
from store.jobs import commands
from tests.support.factories import acquire_job, make_job, make_worker
from trainer.data.cache import unfinished
from trainer.events import CheckpointSaved
from worker.sweep.orphans import delete_orphans, delete_unfinished

Sessions = sessionmaker[Session]
OLD = time.time() - 7200


@pytest.fixture
def job_id(sessions: Sessions) -> int:
    """A running job with one checkpoint, `named.pt`."""
    with sessions.begin() as session:
        make_worker(session)
        job = make_job(session)
        assert acquire_job(session) is not None
        path = f"jobs/{job.id}/attempt-1/named.pt"
        event = CheckpointSaved("last", 0, 1, path, "d" * 32, 1)
        commands.record_checkpoint(session, job.id, 1, event)
    return job.id


def put(storage: Path, job_id: int, name: str, changed_at: float = OLD) -> Path:
    path = storage / "jobs" / str(job_id) / "attempt-1" / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"x")
    os.utime(path, (changed_at, changed_at))
    return path


def settle(sessions: Sessions, job_id: int) -> None:
    with sessions.begin() as session:
        commands.end_attempt(session, job_id, 1, "drained")


def test_only_old_files_without_a_row_are_deleted(
    sessions: Sessions, job_id: int, tmp_path: Path
) -> None:
    settle(sessions, job_id)
    kept = [put(tmp_path, job_id, "named.pt"), put(tmp_path, job_id, "new.pt", time.time())]
    orphans = [put(tmp_path, job_id, "orphan.pt"), put(tmp_path, job_id, "files/orphan.npz")]
    assert delete_orphans(sessions, FolderStorage(tmp_path)) == 2
    assert all(path.exists() for path in kept)
    assert not any(path.exists() for path in orphans)


def test_nothing_of_a_running_job_or_of_an_unknown_one_is_deleted(
    sessions: Sessions, job_id: int, tmp_path: Path
) -> None:
    kept = [put(tmp_path, job_id, "orphan.pt"), put(tmp_path, job_id + 1, "orphan.pt")]
    assert delete_orphans(sessions, FolderStorage(tmp_path)) == 0
    assert all(path.exists() for path in kept)


def test_a_clock_that_is_ahead_makes_no_file_old(
    sessions: Sessions, job_id: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settle(sessions, job_id)
    kept = put(tmp_path, job_id, "new.pt", time.time())
    with unfinished(tmp_path / "datasets") as active:
        tomorrow = time.time() + 25 * 3600
        monkeypatch.setattr(time, "time", lambda: tomorrow)
        assert delete_orphans(sessions, FolderStorage(tmp_path)) == 0
        assert delete_unfinished(tmp_path) == 0
        assert active.exists()
    assert kept.exists()


def test_a_file_that_cannot_be_deleted_keeps_nothing_else(
    sessions: Sessions, job_id: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settle(sessions, job_id)
    names = ("a.pt", "b.pt", "c.pt")
    files = [put(tmp_path, job_id, name) for name in names]
    unlink = Path.unlink

    def refuse_one(path: Path, missing_ok: bool = False) -> None:
        if path.name == "b.pt":
            raise PermissionError(path)
        unlink(path, missing_ok)

    monkeypatch.setattr(Path, "unlink", refuse_one)
    assert delete_orphans(sessions, FolderStorage(tmp_path)) == 2
    assert [path.exists() for path in files] == [False, True, False]


def test_what_a_killed_decoding_left_is_deleted_once_it_is_old(tmp_path: Path) -> None:
    datasets = tmp_path / "datasets"
    with unfinished(datasets) as active:
        killed = datasets / ".decoding-killed"
        finished = datasets / ("d" * 32)
        for folder in (killed, finished):
            folder.mkdir()
            (folder / "train-images.npy").write_bytes(b"x")
            os.utime(folder / "train-images.npy", (OLD, OLD))
            os.utime(folder, (OLD, OLD))
        # Its images are still being written, though no file was made for long.
        (active / "train-images.npy").write_bytes(b"x")
        os.utime(active, (OLD, OLD))
        assert delete_unfinished(tmp_path) == 0
        assert delete_unfinished(tmp_path, 3600) == 1
        assert sorted(datasets.iterdir()) == sorted([active, finished])
