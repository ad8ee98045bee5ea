"""Which folder is the storage: adopted once, recognized by its marker, and refused in words otherwise."""

import errno
import os
import shutil
import tempfile
import threading
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import func, select, update
from sqlalchemy.orm import Session, sessionmaker

from runtime.storage import FolderStorage, ObjectStore, StorageAway
from runtime.storage import Storage as SharedStorage
from store.__main__ import main
from store.db.errors import StorageRefused
from store.db.models import Checkpoint, Storage
from store.hosts import storage as module
from store.hosts.storage import MARKER
from tests.support.factories import make_job
from tests.support.object_store import object_store
from tests.support.waiting import free_port

Sessions = sessionmaker[Session]


def check_storage(sessions: Sessions, folder: Path, **options: bool) -> None:
    module.check_storage(sessions, FolderStorage(folder), **options)


def adopt_storage(sessions: Sessions, folder: Path) -> None:
    module.adopt_storage(sessions, FolderStorage(folder))


def id_in_sql(sessions: Sessions) -> str | None:
    with sessions.begin() as session:
        return session.scalars(select(Storage.id)).one_or_none()


def add_checkpoints(sessions: Sessions, folder: Path | None, count: int = 3) -> None:
    """Rows of an hour ago, with their files where a folder is given."""
    with sessions.begin() as session:
        job = make_job(session)
        for step in range(count):
            path = f"jobs/{job.id}/attempt-1/{step}.pt"
            session.add(
                Checkpoint(
                    job_id=job.id, attempt=1, kind="last", epoch=1, step=step, path=path,
                    digest="", bytes=1, created_at=func.now() - timedelta(hours=1),
                )
            )  # fmt: skip
            if folder is not None:
                (folder / path).parent.mkdir(parents=True, exist_ok=True)
                (folder / path).write_bytes(b"1")


def set_adopted(sessions: Sessions, ago: timedelta) -> None:
    with sessions.begin() as session:
        session.execute(update(Storage).values(adopted_at=func.now() - ago))


def test_the_first_start_marks_the_folder_and_the_next_recognizes_it(
    sessions: Sessions, tmp_path: Path
) -> None:
    folder = tmp_path / "new" / "storage"
    check_storage(sessions, folder)
    check_storage(sessions, folder)
    assert (folder / MARKER).read_text().strip() == id_in_sql(sessions)
    assert [path.name for path in folder.iterdir()] == [MARKER]


def test_of_two_first_starts_with_a_storage_each_one_is_refused(
    sessions: Sessions, tmp_path: Path
) -> None:
    together = threading.Barrier(2)

    def start(folder: Path) -> bool:
        together.wait()
        try:
            check_storage(sessions, folder)
        except StorageRefused:
            return False
        return True

    with ThreadPoolExecutor(2) as pool:
        assert sorted(pool.map(start, (tmp_path / "one", tmp_path / "other"))) == [False, True]


def test_two_first_starts_on_the_same_storage_agree(sessions: Sessions, tmp_path: Path) -> None:
    together = threading.Barrier(2)

    def start(_: int) -> None:
        together.wait()
        check_storage(sessions, tmp_path)

    with ThreadPoolExecutor(2) as pool:
        list(pool.map(start, range(2)))
    assert (tmp_path / MARKER).read_text().strip() == id_in_sql(sessions)


def test_a_first_start_that_was_killed_is_completed_by_the_next(
    sessions: Sessions, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def die(*_: Any) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(module, "_complete", die)
        with pytest.raises(KeyboardInterrupt):
            check_storage(sessions, tmp_path)
    committed = id_in_sql(sessions)
    assert committed is not None
    check_storage(sessions, tmp_path)
    assert (tmp_path / MARKER).read_text().strip() == committed


def test_a_marker_that_gets_its_name_while_another_process_looks_is_recognized(
    sessions: Sessions, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    check_storage(sessions, tmp_path)
    unnamed = tmp_path / f"{MARKER}.{id_in_sql(sessions)}"
    (tmp_path / MARKER).rename(unnamed)
    read = module._read_marker

    def read_and_rename(storage: SharedStorage, committed: str | None = None) -> str | None:
        marker = read(storage, committed)
        if unnamed.exists():
            unnamed.rename(tmp_path / MARKER)
        return marker

    monkeypatch.setattr(module, "_read_marker", read_and_rename)
    check_storage(sessions, tmp_path)


def test_a_folder_without_the_marker_is_refused_and_left_alone(
    sessions: Sessions, tmp_path: Path
) -> None:
    check_storage(sessions, tmp_path / "shared")
    for folder, why in (
        (tmp_path / "local", "its file storage-id is missing"),
        (tmp_path / "absent", "its folder does not exist"),
    ):
        if folder.name == "local":
            folder.mkdir()
        with pytest.raises(StorageRefused) as refused:
            check_storage(sessions, folder)
        words = str(refused.value)
        assert words.startswith(f"{folder} on ")
        assert why in words
        assert repr(id_in_sql(sessions)) in words
        assert f"as {tmp_path / 'shared'} on " in words
        assert "NORMLAB_STORAGE" in words
        assert "`normlab up --adopt-storage` for the local stack" in words
        assert "elsewhere `python -m store adopt-storage`" in words
    assert not (tmp_path / "absent").exists()
    assert list((tmp_path / "local").iterdir()) == []


def test_the_storage_of_another_database_is_refused(sessions: Sessions, tmp_path: Path) -> None:
    check_storage(sessions, tmp_path / "shared")
    other = tmp_path / "other"
    other.mkdir()
    (other / MARKER).write_text("0123456789abcdef\n")
    with pytest.raises(StorageRefused, match="says '0123456789abcdef', but the database's storage"):
        check_storage(sessions, other)


def test_a_database_without_a_storage_does_not_take_over_that_of_another(
    sessions: Sessions, tmp_path: Path
) -> None:
    (tmp_path / MARKER).write_text("0123456789abcdef\n")
    with pytest.raises(StorageRefused, match="belongs to another database"):
        check_storage(sessions, tmp_path)
    assert id_in_sql(sessions) is None


def test_an_emptied_storage_is_refused_until_it_is_adopted(
    sessions: Sessions, tmp_path: Path, database_url: str, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    old, new = tmp_path / "old", tmp_path / "new"
    check_storage(sessions, old)
    set_adopted(sessions, timedelta(days=1))
    add_checkpoints(sessions, old)
    new.mkdir()
    with pytest.raises(StorageRefused):
        check_storage(sessions, new)
    monkeypatch.setenv("NORMLAB_DATABASE_URL", database_url)
    monkeypatch.setenv("NORMLAB_STORAGE", str(new))
    assert main(["adopt-storage"]) is None
    assert "Of the 3 files in the database, 3 are missing in it." in capsys.readouterr().out
    check_storage(sessions, new)
    with pytest.raises(StorageRefused):
        check_storage(sessions, old)
    adopt_storage(sessions, old)
    check_storage(sessions, old)


def test_an_older_installation_adopts_the_folder_that_has_its_files(
    sessions: Sessions, tmp_path: Path
) -> None:
    add_checkpoints(sessions, tmp_path / "its own")
    (tmp_path / "empty").mkdir()
    with pytest.raises(StorageRefused, match="none of the 3 newest files"):
        check_storage(sessions, tmp_path / "empty")
    check_storage(sessions, tmp_path / "its own")


def test_a_copy_is_refused_that_lacks_what_was_written_since(
    sessions: Sessions, tmp_path: Path
) -> None:
    check_storage(sessions, tmp_path / "shared")
    set_adopted(sessions, timedelta(days=1))
    shutil.copytree(tmp_path / "shared", tmp_path / "copy")
    add_checkpoints(sessions, tmp_path / "shared")
    check_storage(sessions, tmp_path / "shared")
    with pytest.raises(StorageRefused, match="or is an old copy of it"):
        check_storage(sessions, tmp_path / "copy")


@pytest.mark.parametrize(
    ("error", "is_refused"), [(errno.EROFS, True), (errno.EACCES, True), (errno.ENOSPC, False)]
)
def test_a_storage_that_cannot_be_written_is_refused_in_words_unless_it_is_only_full(
    sessions: Sessions, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: int,
    is_refused: bool,
) -> None:  # fmt: skip
    check_storage(sessions, tmp_path)

    def fail(*_: Any, **__: Any) -> None:
        raise OSError(error, os.strerror(error), str(tmp_path))

    monkeypatch.setattr(tempfile, "TemporaryFile", fail)
    monkeypatch.setattr(Path, "replace", fail)
    check_storage(sessions, tmp_path, must_write=False)
    if is_refused:
        with pytest.raises(StorageRefused, match=f"{tmp_path} on .* {os.strerror(error)}"):
            check_storage(sessions, tmp_path)
    else:
        check_storage(sessions, tmp_path)


def test_a_path_that_is_no_folder_is_refused_in_words(sessions: Sessions, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StorageRefused, match="Not a directory"):
        check_storage(sessions, tmp_path / "file")


def test_an_object_store_is_recognized_from_every_host(
    sessions: Sessions, object_server: str, bucket: str, tmp_path: Path
) -> None:
    here, there = (object_store(object_server, bucket, tmp_path / name) for name in "ab")
    module.check_storage(sessions, here)
    module.check_storage(sessions, there)
    assert there.read(MARKER).decode().strip() == id_in_sql(sessions)
    # What was written to see whether that can be done is gone.
    assert [one.key for one in there.entries("")] == [MARKER]


def test_a_host_with_another_object_store_or_a_folder_is_refused(
    sessions: Sessions, object_server: str, bucket: str, tmp_path: Path
) -> None:
    module.check_storage(sessions, object_store(object_server, bucket, tmp_path / "a"))
    with pytest.raises(StorageRefused, match=f"adopted .* as s3://{bucket}/lab at {object_server}"):
        check_storage(sessions, tmp_path / "own")
    other = ObjectStore(bucket, "of-another", tmp_path / "b", endpoint=object_server, cache_bytes=1)
    with pytest.raises(
        StorageRefused, match=r"s3://.*/of-another .* its file storage-id is missing"
    ):
        module.check_storage(sessions, other)


def test_an_object_store_that_refuses_is_refused_and_one_that_is_away_is_not(
    sessions: Sessions, object_server: str, tmp_path: Path
) -> None:
    with pytest.raises(StorageRefused, match=r"NoSuchBucket\)\. Allow this service to list, read"):
        module.check_storage(sessions, object_store(object_server, "absent", tmp_path))
    away = object_store(f"http://127.0.0.1:{free_port()}", "lab", tmp_path)
    with pytest.raises(StorageAway):
        module.check_storage(sessions, away)
    assert id_in_sql(sessions) is None


def test_what_an_adopted_object_store_lacks_is_counted(
    sessions: Sessions, object_server: str, bucket: str, tmp_path: Path
) -> None:
    add_checkpoints(sessions, None)
    store = object_store(object_server, bucket, tmp_path)
    adopted = module.adopt_storage(sessions, store)
    assert (adopted.named, adopted.missing) == (3, 3)
