"""Whatever the storage is, what one host has put is what another gets; and what is special about an object store."""

import os
import time
from dataclasses import dataclass
from pathlib import Path

import pytest

from runtime.files import DamagedFile, digest_of, read_verified, write_file
from runtime.storage import (
    FolderStorage,
    LocalCopies,
    Storage,
    StorageAway,
    StorageError,
    fetch_folder,
    open_storage,
    store_folder,
    write,
)
from runtime.storage.local_copies import IN_USE_SECONDS
from tests.support.object_store import client_of, object_store
from tests.support.waiting import free_port

KEY = "jobs/3/attempt-1/last.pt"


@dataclass(frozen=True, slots=True)
class Shared:
    """One storage, as two hosts see it."""

    here: Storage
    there: Storage


@pytest.fixture(params=["folder", "objects"])
def shared(request: pytest.FixtureRequest, tmp_path: Path) -> Shared:
    if request.param == "folder":
        return Shared(FolderStorage(tmp_path), FolderStorage(tmp_path))
    url, bucket = request.getfixturevalue("object_server"), request.getfixturevalue("bucket")
    here, there = (object_store(url, bucket, tmp_path / name) for name in ("here", "there"))
    return Shared(here, there)


def put(storage: Storage, content: bytes, key: str = KEY) -> str:
    write_file(storage.root / key, content)
    storage.put(key, digest_of(content))
    return digest_of(content)


def get(storage: Storage, digest: str, key: str = KEY) -> bytes:
    """As whoever uses a file does."""
    return read_verified(storage.fetch(key, digest), digest)


def test_what_one_host_has_put_another_gets(shared: Shared) -> None:
    content = os.urandom(3 * 2**20)
    digest = put(shared.here, content)
    assert get(shared.there, digest) == content
    assert get(shared.here, digest) == content
    assert shared.there.exists(KEY)


def test_what_is_not_there_is_missed(shared: Shared) -> None:
    shared.here.root.mkdir(exist_ok=True)
    with pytest.raises((FileNotFoundError, DamagedFile)):
        get(shared.there, digest_of(b"x"))
    with pytest.raises(FileNotFoundError):
        shared.there.read(KEY)
    assert not shared.there.exists(KEY)
    shared.there.delete(KEY)


def test_what_has_become_something_else_is_damaged(shared: Shared) -> None:
    digest = put(shared.here, b"the weights")
    write(shared.here, KEY, b"the weightz")
    with pytest.raises(DamagedFile):
        get(shared.there, digest)


def test_what_is_deleted_is_gone_for_all(shared: Shared) -> None:
    put(shared.here, b"1")
    shared.there.delete(KEY)
    assert not shared.here.exists(KEY)
    assert list(shared.here.entries("jobs/")) == []


def test_a_small_file_is_written_and_replaced_at_once(shared: Shared) -> None:
    write(shared.here, "storage-id", b"1")
    write(shared.here, "storage-id", b"2")
    assert shared.there.read("storage-id") == b"2"


def test_entries_are_those_below_a_prefix_with_size_and_age(shared: Shared) -> None:
    keys = ["jobs/1/attempt-1/a.pt", "jobs/1/attempt-2/b.pt", "jobs/2/attempt-1/c.pt"]
    for key in [*keys, "studies/1/report.html", "jobs-of-others/1"]:
        put(shared.here, b"12345", key)
    found = list(shared.there.entries("jobs/"))
    assert [one.key for one in found] == keys
    assert {one.bytes for one in found} == {5}
    # The clock of the storage has whole seconds, where it is a server's.
    assert all(abs(shared.there.now() - one.changed_at) < 100 for one in found)
    assert [one.key for one in shared.there.entries("jobs/1/attempt-2/b.")] == [keys[1]]


def test_a_folder_comes_as_a_whole(shared: Shared) -> None:
    for name, content in (("images.npy", b"images"), ("info.json", b"{}")):
        write_file(shared.here.root / "datasets/d1" / name, content)
    store_folder(shared.here, "datasets/d1")
    assert fetch_folder(shared.there, "datasets/d1")
    folder = shared.there.root / "datasets" / "d1"
    assert {one.name: one.read_bytes() for one in folder.iterdir()} == {
        "images.npy": b"images",
        "info.json": b"{}",
    }
    assert not fetch_folder(shared.there, "datasets/d2")
    assert [one.name for one in folder.parent.iterdir() if one.name.startswith(".")] == []


def test_of_a_folder_with_a_damaged_file_nothing_is_there(
    object_server: str, bucket: str, tmp_path: Path
) -> None:
    here, there = (object_store(object_server, bucket, tmp_path / name) for name in "ab")
    write_file(here.root / "datasets/d1/images.npy", b"images")
    store_folder(here, "datasets/d1")
    write(here, "datasets/d1/images.npy", b"imagez")
    with pytest.raises(DamagedFile):
        fetch_folder(there, "datasets/d1")
    assert list((there.root / "datasets").iterdir()) == []


def test_a_copy_that_is_damaged_is_fetched_anew(
    object_server: str, bucket: str, tmp_path: Path
) -> None:
    store = object_store(object_server, bucket, tmp_path)
    digest = put(store, b"the weights")
    (tmp_path / KEY).chmod(0o644)
    (tmp_path / KEY).write_bytes(b"the weightz")
    assert get(store, digest) == b"the weights"


def test_a_file_of_many_parts_arrives_whole(
    object_server: str, bucket: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # The smallest parts that a store takes.
    monkeypatch.setattr("runtime.storage.object_store._PART_BYTES", 5 * 2**20)
    here, there = (object_store(object_server, bucket, tmp_path / name) for name in "ab")
    content = os.urandom(11 * 2**20)
    assert get(there, put(here, content)) == content


def test_copies_that_were_used_longest_ago_make_room_and_what_is_not_stored_stays(
    tmp_path: Path,
) -> None:
    copies = LocalCopies(tmp_path, 25)
    old, used, unsent = (tmp_path / "jobs" / name / "last.pt" for name in "123")
    for path in (old, used, unsent):
        write_file(path, bytes(20))
    for path in (old, used):
        path.chmod(0o444)
    ago = time.time() - 2 * IN_USE_SECONDS
    for path in (old, unsent):
        os.utime(path, (ago, ago))
    assert copies.trim() == 1
    assert [path.exists() for path in (old, used, unsent)] == [False, True, True]


def test_of_a_job_that_goes_on_nothing_makes_room(tmp_path: Path) -> None:
    best, last = (tmp_path / "jobs" / "3" / name for name in ("attempt-1/best", "attempt-2/last"))
    for path in (best, last):
        write_file(path, bytes(20))
        path.chmod(0o444)
    ago = time.time() - 2 * IN_USE_SECONDS
    os.utime(best, (ago, ago))
    assert LocalCopies(tmp_path, 0).trim() == 0


def test_a_dataset_makes_room_as_a_whole(tmp_path: Path) -> None:
    ago = time.time() - 2 * IN_USE_SECONDS
    for name in ("d1", "d2"):
        folder = tmp_path / "datasets" / name
        for file in ("images.npy", "labels.npy"):
            write_file(folder / file, bytes(20))
            (folder / file).chmod(0o444)
        os.utime(folder, (ago, ago))
    os.utime(tmp_path / "datasets" / "d1")
    assert LocalCopies(tmp_path, 50).trim() == 1
    assert [one.name for one in (tmp_path / "datasets").iterdir()] == ["d1"]


def test_a_store_that_is_away_says_where_and_no_secret(tmp_path: Path, object_server: str) -> None:
    store = object_store(f"http://127.0.0.1:{free_port()}", "lab", tmp_path)
    with pytest.raises(StorageAway) as away:
        put(store, b"1")
    assert "the object store s3://lab/lab at http://127.0.0.1:" in str(away.value)
    assert "a-secret" not in str(away.value)


def test_a_store_that_refuses_says_what_and_why(tmp_path: Path, object_server: str) -> None:
    store = object_store(object_server, "absent", tmp_path)
    with pytest.raises(StorageError, match=r"refuses PutObject of 'jobs/.*NoSuchBucket") as refused:
        put(store, b"1")
    assert not isinstance(refused.value, StorageAway)


@pytest.mark.parametrize(
    ("location", "endpoint", "why"),
    [
        ("s3://name:word@lab/x", None, "must not hold credentials"),
        ("s3://lab", "http://name:word@server", "must not hold credentials"),
        ("s3://", None, "must be s3://bucket/prefix"),
        ("s3://lab:9000/x", None, "NORMLAB_S3_ENDPOINT"),
        ("s3://lab", "server:9000", "must be an address"),
        ("gs://lab", None, "must be a folder or s3://"),
    ],
)
def test_what_is_no_place_is_refused_without_repeating_a_secret(
    location: str, endpoint: str | None, why: str, tmp_path: Path
) -> None:
    with pytest.raises(ValueError, match=why) as refused:
        open_storage(location, endpoint=endpoint, cache=tmp_path)
    assert "word" not in str(refused.value)


def test_two_stores_share_no_copies(tmp_path: Path) -> None:
    places = ["s3://lab/one", "s3://lab/other", "s3://bal/one"]
    assert len({open_storage(one, cache=tmp_path).root for one in places}) == 3
    assert open_storage(str(tmp_path)) == FolderStorage(tmp_path.resolve())


def test_what_was_killed_in_an_upload_is_nowhere(
    object_server: str, bucket: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("runtime.storage.object_store._PART_BYTES", 5 * 2**20)
    store = object_store(object_server, bucket, tmp_path)
    write_file(tmp_path / KEY, bytes(11 * 2**20))
    sent = []

    def die() -> None:
        sent.append(1)
        if len(sent) > 10:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        store.put(KEY, "", die)
    assert client_of(object_server).list_objects_v2(Bucket=bucket)["KeyCount"] == 0


def test_a_key_that_leads_elsewhere_deletes_nothing(tmp_path: Path) -> None:
    outside = tmp_path / "kept"
    outside.write_bytes(b"x")
    storage = FolderStorage(tmp_path / "storage")
    for key in ("../kept", str(outside), "jobs/../../kept"):
        with pytest.raises(StorageError, match="is not in"):
            storage.delete(key)
    assert outside.exists()
