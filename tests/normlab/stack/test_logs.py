"""Logs stay bounded while the processes that write them go on."""

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from normlab.errors import StackError
from normlab.home import Home, LogLimits
from normlab.stack.activity import last_lines
from normlab.stack.logs import bounded_logs, older_piece, rotate

LIMITS = LogLimits(size=100_000, kept=2)
#: Numbered lines of 100 bytes to an inherited descriptor until a signal comes; then a child's.
WRITER = """
import itertools, os, signal, subprocess, sys, time
def end(*_):
    subprocess.run(["echo", "a child's last line"])
    os._exit(0)
signal.signal(signal.SIGTERM, end)
for block in itertools.count():
    os.write(1, b"".join(b"%099d\\n" % line for line in range(block * 100, block * 100 + 100)))
    time.sleep(0.001)
"""


def pieces(log: Path) -> list[Path]:
    return sorted(log.parent.glob(f"{log.name}*"))


def test_a_process_that_writes_without_end_keeps_its_log_and_the_newest_pieces(
    tmp_path: Path,
) -> None:
    log = tmp_path / "api.log"
    complaints: list[str] = []
    with bounded_logs(tmp_path, LIMITS, complaints.append, seconds=0.01), log.open("ab") as file:
        process = subprocess.Popen([sys.executable, "-c", WRITER], stdout=file)
        while not has_lost_its_first_line(older_piece(log, 2)):
            time.sleep(0.01)
        process.terminate()
        assert process.wait() == 0
    assert [path.name for path in pieces(log)] == ["api.log", "api.log.1", "api.log.2"]
    assert "".join(map(Path.read_text, reversed(pieces(log)))).endswith("a child's last line\n")
    rotate(log, LIMITS)
    assert log.stat().st_size < LIMITS.size
    assert complaints == []


def has_lost_its_first_line(piece: Path) -> bool:
    """Whether so much was written that what came first is gone."""
    try:
        return int(piece.read_text().split("\n", 1)[0]) > 0
    except (OSError, ValueError):
        return False


@pytest.fixture
def log(tmp_path: Path) -> Iterator[Path]:
    path = tmp_path / "worker.log"
    path.write_text("".join(f"line {number}\n" for number in range(20_000)))
    return path


def test_nothing_that_was_written_before_is_lost_and_the_oldest_goes(log: Path) -> None:
    first = log.read_text()
    with log.open("ab") as writer:
        for text in (b"second", b"third"):
            rotate(log, LIMITS)
            os.write(writer.fileno(), text)
            os.truncate(log, LIMITS.size)
        assert (log.parent / "worker.log.2").read_text() == first
        rotate(log, LIMITS)
        os.write(writer.fileno(), b"last")
    assert log.read_text() == "last"
    assert (log.parent / "worker.log.1").read_bytes().startswith(b"third")
    assert (log.parent / "worker.log.2").read_bytes().startswith(b"second")
    assert len(pieces(log)) == 3


def test_fewer_files_than_before_are_kept_at_once(log: Path) -> None:
    (log.parent / "worker.log.7").write_text("old")
    rotate(log, LIMITS)
    assert [path.name for path in pieces(log)] == ["worker.log", "worker.log.1"]


def test_the_last_lines_of_a_log_that_was_just_emptied_are_found(log: Path) -> None:
    rotate(log, LIMITS)
    with log.open("a") as file:
        file.write("it ended\n")
    assert last_lines(log, 2).splitlines()[1:] == ["  line 19999", "  it ended"]


def test_a_log_that_cannot_be_copied_stays_as_it_is(
    log: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = log.read_bytes()
    (log.parent / "worker.log.1").write_text("older")

    def fail(source: object, target: object) -> None:
        raise OSError("no space left")

    monkeypatch.setattr("normlab.stack.logs._copy_present", fail)
    with pytest.raises(OSError, match="no space left"):
        rotate(log, LIMITS)
    assert log.read_bytes() == before
    assert [path.name for path in pieces(log)] == ["worker.log", "worker.log.1"]


def test_the_limits_are_settings(tmp_path: Path) -> None:
    given = {"NORMLAB_HOME": str(tmp_path), "NORMLAB_LOG_MEGABYTES": "0.5"}
    limits = Home.from_environment(given | {"NORMLAB_LOG_FILES": "5"}).log_limits
    assert limits == LogLimits(size=500_000, kept=5)


@pytest.mark.parametrize(
    ("variable", "value"),
    [("NORMLAB_LOG_MEGABYTES", "0"), ("NORMLAB_LOG_MEGABYTES", "nan"), ("NORMLAB_LOG_FILES", "-1")],
)
def test_a_limit_that_is_none_is_refused(variable: str, value: str) -> None:
    with pytest.raises(StackError, match=f"{variable} must be a .*number"):
        Home.from_environment({variable: value})
