"""A process in which no thread can run ends, and says where it was."""

import os
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from worker.execution import standstill
from worker.execution.standstill import (
    Standstill,
    forget_abandoned_stacks,
    forget_stacks,
    read_stacks,
    stacks_file,
)

#: The C library's `sleep`, called without giving the interpreter's lock back.
HANGS = """
import ctypes, runpy, sys
from pathlib import Path

Standstill = runpy.run_path(sys.argv[2])["Standstill"]

def hang():
    ctypes.PyDLL(None).sleep(600)

with Standstill(0.5, Path(sys.argv[1])):
    hang()
"""


def test_a_process_whose_threads_all_wait_for_one_ends_with_its_stacks(tmp_path: Path) -> None:
    path = tmp_path / "stacks"
    # The module alone: what its room imports takes seconds.
    command = [sys.executable, "-c", HANGS, path, standstill.__file__]
    done = subprocess.run(command, check=False, timeout=300)
    assert done.returncode == 1
    assert "in hang" in path.read_text()


def test_a_process_that_goes_on_leaves_no_file(tmp_path: Path) -> None:
    path = tmp_path / "stacks"
    with Standstill(60, path):
        assert path.read_text() == ""
    assert not path.exists()


def test_files_of_dead_processes_are_forgotten(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    dead, new, living = (stacks_file(process, "of this test") for process in range(3))
    dead.write_text("")
    with Standstill(60, living):
        for path in (dead, living):
            os.utime(path, (0, 0))
        new.write_text("")
        forget_abandoned_stacks()
        assert sorted(tmp_path.iterdir()) == sorted([new, living])


def test_nothing_is_watched_where_the_file_cannot_be_made(tmp_path: Path) -> None:
    with Standstill(60, tmp_path / "missing" / "stacks"):
        pass


def test_what_a_process_wrote_is_read_until_it_is_forgotten() -> None:
    process, instance = 2**22 + 1, "of this test"
    assert read_stacks(process, instance) == ""
    stacks_file(process, instance).write_text("Thread 0x1")
    try:
        assert read_stacks(process, instance) == "Thread 0x1"
    finally:
        forget_stacks(process, instance)
    assert read_stacks(process, instance) == ""
    forget_stacks(process, instance)
