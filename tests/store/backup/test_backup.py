"""A backup is the rows of one moment and the files that they name; restored, both are equal, or it is refused."""

import errno
import os
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
from sqlalchemy import create_engine, text
from sqlalchemy.orm import Session, sessionmaker

from normlab.stack.servers import Postgres
from runtime.files import digest_of, write_file
from store.backup import Archive, BackupError, back_up, restore
from store.db.models import File, Table
from tests.support.factories import acquire_job, finish_training, make_job, make_worker

PATH = "jobs/1/attempt-1/best.pt"


@dataclass(frozen=True, slots=True)
class Home:
    """A home whose database is the tests' own."""

    postgres: Postgres
    folder: Path
    archive: Archive

    def back_up(self) -> str:
        lines: list[str] = []
        urls = {"normlab": self.postgres.url("normlab")}
        back_up(urls, self.folder, self.archive, None, lines.append)
        return "\n".join(lines)

    def restore(self, folder: Path) -> str:
        lines: list[str] = []
        restore({"normlab": self.postgres.url("restored")}, folder, self.archive, lines.append)
        return "\n".join(lines)


@pytest.fixture
def home(
    postgres: Postgres,
    sessions: sessionmaker[Session],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> Iterator[Home]:
    """With a job that has trained, and a file that a row names."""
    monkeypatch.setenv("PATH", str(postgres.find_programs()), prepend=os.pathsep)
    folder = tmp_path / "home"
    write_file(folder / "storage" / PATH, b"weights")
    write_file(folder / "token", b"nl_secret")
    with sessions.begin() as session:
        make_worker(session)
        job = make_job(session)
        session.flush()
        assignment = acquire_job(session)
        assert assignment is not None
        finish_training(session, assignment)
        row = File(job_id=job.id, name="best", path=PATH, digest=digest_of(b"weights"), bytes=7)
        session.add(row)
    postgres.create_databases("restored")
    yield Home(postgres, folder, Archive(tmp_path / "backup"))
    engine = create_engine(postgres.url("postgres"), isolation_level="AUTOCOMMIT")
    with engine.connect() as connection:
        connection.execute(text("DROP DATABASE restored WITH (FORCE)"))
    engine.dispose()


def rows(url: str) -> dict[str, list[str]]:
    """Every row of every table, as text."""
    engine = create_engine(url)
    with engine.connect() as connection:
        found = {
            name: list(connection.scalars(text(f"SELECT t::text FROM {name} t ORDER BY 1")))
            for name in ("alembic_version", *Table.metadata.tables)
        }
    engine.dispose()
    return found


def files(folder: Path) -> dict[str, tuple[bytes, int]]:
    return {
        str(path.relative_to(folder)): (path.read_bytes(), path.stat().st_mode)
        for path in folder.rglob("*")
        if path.is_file()
    }


def test_restored_rows_and_files_equal_those_that_were_saved(home: Home, tmp_path: Path) -> None:
    home.back_up()
    said = home.restore(tmp_path / "restored")
    saved = rows(home.postgres.url("normlab"))
    assert rows(home.postgres.url("restored")) == saved
    assert saved["epochs"]
    assert files(tmp_path / "restored") == files(home.folder)
    assert "Files: 2" in said


def test_what_the_folder_has_is_not_copied_again(home: Home) -> None:
    home.back_up()
    write_file(home.folder / "data" / "new.csv", b"1,2")
    assert "Files: 3, of which 2 were in the backup already; 3 bytes copied" in home.back_up()


def test_what_was_deleted_is_gone_from_the_next_backup(home: Home) -> None:
    write_file(home.folder / "data" / "old.csv", b"1,2")
    home.back_up()
    (home.folder / "data" / "old.csv").unlink()
    home.back_up()
    assert not [path for path in home.archive.folder.rglob("*") if digest_of(b"1,2") == path.name]
    assert len(list(home.archive.databases.iterdir())) == 1


def test_what_is_still_being_written_is_left_out(home: Home, tmp_path: Path) -> None:
    write_file(home.folder / "storage" / "jobs" / "1" / "attempt-2" / "last.pt", b"half")
    write_file(home.folder / "storage" / "datasets" / ".decoding-1" / "x.npy", b"half")
    home.back_up()
    home.restore(tmp_path / "restored")
    assert set(files(tmp_path / "restored")) == {"token", f"storage/{PATH}"}


@pytest.mark.parametrize(("content", "reason"), [(None, "deleted"), (b"changed", "damaged")])
def test_a_file_that_rows_name_and_that_is_lost_is_reported(
    home: Home, content: bytes | None, reason: str
) -> None:
    place = home.folder / "storage" / PATH
    place.unlink()
    if content is not None:
        place.write_bytes(content)
    said = home.back_up()
    assert f"Not copied: storage/{PATH}" in said
    assert reason in said


def test_a_damaged_backup_is_refused(home: Home, tmp_path: Path) -> None:
    home.back_up()
    [place] = [one for one in home.archive.folder.rglob(digest_of(b"weights")) if one.is_file()]
    place.write_bytes(b"changed")
    with pytest.raises(BackupError, match=r"is damaged: storage/jobs/1/attempt-1/best\.pt"):
        home.restore(tmp_path / "restored")


def test_a_file_that_was_damaged_in_the_backup_is_replaced_by_the_next(
    home: Home, tmp_path: Path
) -> None:
    home.back_up()
    [place] = [one for one in home.archive.folder.rglob(digest_of(b"weights")) if one.is_file()]
    # Of the same size: a disk that has lost a bit.
    place.write_bytes(b"wEights")
    assert (
        "damaged" not in replace(home, archive=Archive(home.archive.folder, quick=True)).back_up()
    )
    assert place.read_bytes() == b"wEights"
    assert "1 file in the backup had been damaged" in home.back_up()
    assert place.read_bytes() == b"weights"
    assert "damaged" not in home.back_up()
    home.restore(tmp_path / "restored")


def test_a_folder_that_holds_something_else_is_refused(home: Home) -> None:
    write_file(home.archive.folder / "thesis.tex", b"")
    with pytest.raises(BackupError, match=r"such as thesis\.tex"):
        home.back_up()
    assert (home.archive.folder / "thesis.tex").exists()


def test_a_manifest_cannot_write_outside_the_home(home: Home, tmp_path: Path) -> None:
    home.back_up()
    path = home.archive.folder / "manifest.json"
    path.write_text(path.read_text().replace(f"storage/{PATH}", "storage/../../escaped"))
    with pytest.raises(BackupError, match="no path of a home"):
        home.restore(tmp_path / "restored")


def test_a_full_disk_leaves_the_backup_of_before(
    home: Home, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    home.back_up()
    write_file(home.folder / "storage" / "jobs" / "1" / "attempt-1" / "new.pt", b"more")
    write_file(home.folder / "data" / "new.csv", b"1,2")

    def fill(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr("store.backup.archive.copy", fill)
        with pytest.raises(OSError, match="No space left"):
            home.back_up()
    home.restore(tmp_path / "restored")
    assert set(files(tmp_path / "restored")) == {"token", f"storage/{PATH}"}


def test_a_manifest_that_was_being_written_is_in_nobodys_way(home: Home) -> None:
    write_file(home.archive.folder / ".manifest.json.ab12.tmp", b"{")
    home.back_up()
    assert not list(home.archive.folder.glob(".manifest*"))
