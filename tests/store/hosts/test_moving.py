"""A storage moves: what rows name is in the new place, what was lost is named, and the old one is refused."""

from pathlib import Path

import pytest
from sqlalchemy.orm import Session, sessionmaker

from runtime.files import digest_of, read_verified, write_file
from runtime.storage import FolderStorage, Storage, fetch_folder
from store.__main__ import main
from store.db.errors import StorageRefused
from store.db.models import Checkpoint
from store.hosts import check_storage, copy_storage
from store.jobs import leases
from tests.support.factories import make_dataset, make_job, make_worker
from tests.support.object_store import object_store

Sessions = sessionmaker[Session]
WEIGHTS = b"the weights"


def fill(sessions: Sessions, folder: Path) -> list[str]:
    """A dataset and three checkpoints, of which the second is damaged and the third missing; their keys."""
    folder.mkdir()
    check_storage(sessions, FolderStorage(folder))
    with sessions.begin() as session:
        dataset = make_dataset(session)
        assert dataset.info is not None
        job = make_job(session)
        keys = [f"jobs/{job.id}/attempt-1/{step}.pt" for step in range(3)]
        for step, key in enumerate(keys):
            session.add(
                Checkpoint(
                    job_id=job.id, attempt=1, kind="last", epoch=1, step=step, path=key,
                    digest=digest_of(WEIGHTS), bytes=len(WEIGHTS),
                )
            )  # fmt: skip
    write_file(folder / keys[0], WEIGHTS)
    write_file(folder / keys[1], b"the weightz")
    data = f"datasets/{dataset.info['digest']}"
    write_file(folder / data / "info.json", b"{}")
    return [data, *keys]


@pytest.fixture(params=["objects", "folder"])
def target(request: pytest.FixtureRequest, tmp_path: Path) -> Storage:
    if request.param == "folder":
        return FolderStorage(tmp_path / "new")
    url, bucket = request.getfixturevalue("object_server"), request.getfixturevalue("bucket")
    return object_store(url, bucket, tmp_path / "copies")


def test_what_rows_name_is_copied_and_what_is_lost_is_named(
    sessions: Sessions, target: Storage, tmp_path: Path
) -> None:
    data, first, *lost = fill(sessions, tmp_path / "old")
    old = FolderStorage(tmp_path / "old")
    for _ in range(2):
        copied = copy_storage(sessions, old, target, lambda text: None)
        assert copied is not None
        assert (copied.files, copied.lost) == (2, lost)
    if target.is_remote:
        assert not (target.root / first).exists()
    assert read_verified(target.fetch(first, digest_of(WEIGHTS)), digest_of(WEIGHTS)) == WEIGHTS
    assert fetch_folder(target, data)
    assert (target.root / data / "info.json").read_bytes() == b"{}"


def test_a_storage_is_not_moved_while_a_worker_runs(sessions: Sessions, tmp_path: Path) -> None:
    fill(sessions, tmp_path / "old")
    with sessions.begin() as session:
        make_worker(session)
    old, new = FolderStorage(tmp_path / "old"), FolderStorage(tmp_path / "new")
    with pytest.raises(StorageRefused, match="Workers run on alpha and write to the old storage"):
        copy_storage(sessions, old, new, print)
    with sessions.begin() as session:
        leases.worker_ended(session, "alpha")
    assert copy_storage(sessions, old, new, print) is not None


def test_the_command_copies_and_adopts(
    sessions: Sessions,
    database_url: str,
    object_server: str,
    bucket: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    *_, damaged, missing = fill(sessions, tmp_path / "old")
    monkeypatch.setenv("NORMLAB_DATABASE_URL", database_url)
    monkeypatch.setenv("NORMLAB_STORAGE", f"s3://{bucket}/lab")
    monkeypatch.setenv("NORMLAB_S3_ENDPOINT", object_server)
    monkeypatch.setenv("NORMLAB_CACHE", str(tmp_path / "cache"))
    assert main(["adopt-storage", str(tmp_path / "old")]) is None
    said = capsys.readouterr().out
    assert f"2 files and datasets of {tmp_path / 'old'} are in s3://{bucket}/lab" in said
    for key in (damaged, missing):
        assert f"{key} is missing or damaged" in said
    assert "Of the 3 files in the database, 2 are missing in it." in said
    with pytest.raises(StorageRefused, match="is not this database's storage"):
        check_storage(sessions, FolderStorage(tmp_path / "old"))
    # From what isn't the storage any more nothing is copied.
    assert main(["adopt-storage", str(tmp_path / "old")]) is None
    assert "nothing is copied from there" in capsys.readouterr().out
