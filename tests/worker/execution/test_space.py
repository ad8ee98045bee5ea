"""Which folders have room for jobs, and what is said of one that hasn't."""

import os
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from worker.execution import space as module
from worker.execution.space import Space
from worker.settings import Settings


def test_where_there_is_room_nothing_is_short(tmp_path: Path) -> None:
    assert Space((tmp_path, tmp_path / "made" / "later"), 1).shortage() is None


def test_a_folder_with_too_little_free_is_named_with_its_numbers(tmp_path: Path) -> None:
    shortage = Space((tmp_path,), 10**18).shortage()
    assert shortage is not None
    assert (shortage.folder, shortage.needed_bytes) == (str(tmp_path), 10**18)
    assert 0 < shortage.free_bytes < 10**18
    assert shortage.detail == (
        f"{tmp_path} has {shortage.free_bytes / 1e6:.0f} MB free but 1000000000000 MB are needed "
        "(NORMLAB_MIN_FREE_MB)"
    )


def test_without_a_threshold_nothing_is_checked(tmp_path: Path) -> None:
    assert Space((tmp_path / "\0",), 0).shortage() is None


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"f_flag": os.ST_RDONLY}, "is on a file system that is read-only"),
        ({"f_favail": 12}, "has room for 12 more files but 1000 are needed"),
        ({"f_files": 0, "f_favail": 0}, None),
    ],
    ids=["read-only", "no names left", "names without a limit"],
)
def test_a_file_system_that_takes_no_more_files_is_short(
    changes: dict[str, int], words: str | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    healthy = {
        "f_bavail": 10**6,
        "f_frsize": 4096,
        "f_flag": 0,
        "f_files": 10**6,
        "f_favail": 10**5,
    }
    monkeypatch.setattr(module.os, "statvfs", lambda _: SimpleNamespace(**healthy | changes))
    shortage = Space((tmp_path,), 1).shortage()
    assert (None if shortage is None else shortage.detail) == (words and f"{tmp_path} {words}")


def test_a_folder_that_cannot_be_read_is_short(tmp_path: Path, monkeypatch: Any) -> None:
    def refuse(_: Path) -> None:
        raise OSError(116, "Stale file handle")

    monkeypatch.setattr(module.os, "statvfs", refuse)
    shortage = Space((tmp_path,), 1).shortage()
    assert shortage is not None
    assert shortage.detail == f"{tmp_path} cannot be read: Stale file handle"


def test_checkpoints_data_and_temporary_files_are_all_looked_at(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module.tempfile, "gettempdir", lambda: "/elsewhere")
    settings = Settings(database_url="", redis_url="", storage=tmp_path, min_free_mb=2)
    space = Space.of(settings)
    assert space.folders == (
        tmp_path, tmp_path / "jobs", tmp_path / "datasets", Path("/elsewhere"),
    )  # fmt: skip
    assert space.needed_bytes == 2_000_000


def test_a_temporary_folder_that_is_full_is_measured_all_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse() -> str:
        raise FileNotFoundError(2, "No usable temporary directory found")

    monkeypatch.setattr(module.tempfile, "gettempdir", refuse)
    monkeypatch.setenv("TMPDIR", str(tmp_path / "temporary"))
    settings = Settings(database_url="", redis_url="", storage=tmp_path)
    assert Space.of(settings).folders[-1] == tmp_path / "temporary"
