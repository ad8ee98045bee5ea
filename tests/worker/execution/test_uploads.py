"""Files reach the storage beside the training, in order; what has not arrived has no row."""

import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

import pytest

from runtime.storage import FolderStorage, Storage, StorageAway
from tests.support.waiting import wait_for
from worker.execution import uploads as module
from worker.execution.uploads import Kind, Upload, Uploads, newest_only


class Remote:
    """An object store of which only the sending is real: it can be away."""

    is_remote = True

    def __init__(self, folder: Path) -> None:
        self.has_come: list[str] = []
        self.is_away = False
        self.tried = threading.Event()
        self._folder = FolderStorage(folder)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._folder, name)

    def __str__(self) -> str:
        return "s3://lab"

    def put(self, key: str, digest: str, progress: Callable[[], None] = lambda: None) -> None:
        self.tried.set()
        if self.is_away:
            raise StorageAway("the object store s3://lab can't be used: no route")
        self.has_come.append(key)

    def delete(self, key: str) -> None:
        if key not in self.has_come:
            raise FileNotFoundError(key)
        self.has_come.remove(key)


@pytest.fixture(autouse=True)
def _short_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "FIRST_PAUSE_SECONDS", 0.01)
    monkeypatch.setattr(module, "LONGEST_PAUSE_SECONDS", 0.01)


@pytest.fixture
def remote(tmp_path: Path) -> Remote:
    return Remote(tmp_path)


@pytest.fixture
def said() -> list[str]:
    return []


@pytest.fixture
def uploads(remote: Remote, said: list[str]) -> Uploads:
    return Uploads(cast(Storage, remote), lambda _, text: said.append(text))


def upload(kind: Kind, key: str, rows: list[str]) -> Upload:
    return Upload(kind, [(key, "d")], lambda: rows.append(key))


def forever() -> bool:
    return True


def test_a_row_is_written_once_its_file_has_arrived(uploads: Uploads, remote: Remote) -> None:
    rows: list[str] = []
    for key in ("best", "last"):
        uploads.add(upload("last" if key == "last" else "best", key, rows))
    assert uploads.wait(forever) is None
    assert remote.has_come == rows == ["best", "last"]


def test_while_the_store_is_away_it_is_tried_again_and_said_once(
    uploads: Uploads, remote: Remote, said: list[str]
) -> None:
    rows: list[str] = []
    remote.is_away = True
    for number in range(5):
        uploads.add(upload("best", f"best-{number}", rows))
        uploads.add(upload("last", f"last-{number}", rows))
    for _ in range(3):
        remote.tried.clear()
        assert remote.tried.wait(60)
    problem = uploads.wait(lambda: False)
    assert "s3://lab can't be used: no route" in str(problem)
    assert rows == []
    remote.is_away = False
    assert uploads.wait(forever) is None
    # Checkpoints that later ones have replaced were left out.
    assert rows == remote.has_come == ["best-4", "last-4"]
    assert [text.split(":")[0] for text in said] == [
        "the object store s3",
        "files are stored in s3",
    ]


def test_what_has_not_arrived_at_the_end_gets_no_row(uploads: Uploads, remote: Remote) -> None:
    rows: list[str] = []
    remote.is_away = True
    uploads.add(upload("file", "report", rows))
    assert remote.tried.wait(60)
    uploads.close()
    remote.is_away = False
    uploads._thread.join(60)
    assert not uploads._thread.is_alive()
    assert rows == remote.has_come == []


def test_a_file_that_is_gone_ends_the_attempt(uploads: Uploads, remote: Remote) -> None:
    def gone(key: str, digest: str) -> None:
        raise FileNotFoundError(key)

    remote.put = gone  # type: ignore[method-assign,assignment]
    uploads.add(upload("file", "report", []))
    assert isinstance(uploads.wait(forever), FileNotFoundError)
    assert isinstance(uploads.failure, FileNotFoundError)


def test_what_no_row_names_any_more_is_deleted_after_the_rest(
    uploads: Uploads, remote: Remote
) -> None:
    uploads.add(upload("last", "one", []))
    uploads.add(upload("last", "two", []))
    uploads.add(Upload("deletion", [("one", ""), ("unknown", "")]))
    uploads.close()
    wait_for(lambda: remote.has_come == ["two"], "the deletion")


@pytest.mark.parametrize(
    ("kinds", "kept"),
    [
        ("b0 l0 l1 l2", "b0 l2"),
        ("b0 l0 b1 l1 l2", "b1 l2"),
        ("l0 l1 b0", "l1 b0"),
        ("b0 l0 b1", "b0 l0 b1"),
        ("b0 b1", "b0 b1"),
        ("f0 l0 f1 l1", "f0 f1 l1"),
    ],
)
def test_of_checkpoints_that_wait_the_newest_and_its_weights_are_left(
    kinds: str, kept: str
) -> None:
    words: dict[str, Kind] = {"b": "best", "l": "last", "f": "file"}
    waiting = [Upload(words[one[0]], [(one, "")]) for one in kinds.split()]
    assert " ".join(one.files[0][0] for one in newest_only(waiting)) == kept
