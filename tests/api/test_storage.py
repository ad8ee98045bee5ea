"""What decoded datasets take: measured once a minute, whatever becomes of single folders."""

import os
import shutil
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy.orm import Session, sessionmaker
from structlog.testing import capture_logs

from api import storage
from api.storage import StorageSizes
from runtime.storage import FolderStorage
from store.hosts import Stored


def make(folder: Path, name: str, size: int) -> None:
    (folder / name).mkdir(parents=True)
    (folder / name / "images").write_bytes(b"x" * size)


def test_a_folder_that_cannot_be_read_leaves_the_others_counted(
    sessions: sessionmaker[Session], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, size in (("a", 10), ("b", 100), ("c", 1000), ("d", 10000)):
        make(tmp_path / "datasets", name, size)
    scan = os.scandir

    def scandir(folder: Any) -> Any:
        if str(folder).endswith("b"):
            raise PermissionError(13, "Permission denied")
        if str(folder).endswith("c"):
            shutil.rmtree(folder)
        return scan(folder)

    monkeypatch.setattr(os, "scandir", scandir)
    with capture_logs() as lines:
        assert StorageSizes(sessions, FolderStorage(tmp_path)).read()["datasets"] == Stored(
            2, 10010
        )
    # One that is deleted meanwhile is nothing to tell of.
    assert [one["folder"] for one in lines] == [str(tmp_path / "datasets" / "b")]


def test_sizes_are_kept_for_a_minute(
    sessions: sessionmaker[Session], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "datasets"
    sizes = StorageSizes(sessions, FolderStorage(tmp_path))
    assert sizes.read() == dict.fromkeys(("checkpoints", "files", "reports", "datasets"), Stored())
    make(folder, "a", 10)
    assert sizes.read()["datasets"] == Stored(0, 0)
    monkeypatch.setattr(storage, "KEPT_SECONDS", -1.0)
    assert sizes.read()["datasets"] == Stored(1, 10)
