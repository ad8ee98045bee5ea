"""Answers in files: only whole ones are believed, and there are never too many."""

import os
import resource
from collections.abc import Callable
from pathlib import Path

import pytest

from api.processes.kept_answers import KeptAnswers
from trainer.spec.report import Report

REPORT = Report(parameters=5, warnings=("careful",))


def test_an_answer_is_read_by_another_process(tmp_path: Path) -> None:
    KeptAnswers(tmp_path / "new" / "checks").write("key", REPORT)
    assert KeptAnswers(tmp_path / "new" / "checks").read("key") == REPORT


def test_there_is_none_of_another_key(tmp_path: Path) -> None:
    KeptAnswers(tmp_path).write("key", REPORT)
    assert KeptAnswers(tmp_path).read("other") is None


@pytest.mark.parametrize(
    "damage",
    [
        lambda content: b"",
        lambda content: content[:-1],
        lambda content: content.replace(b"careful", b"curious"),
        lambda content: b"\xff" + content,
        lambda content: content.partition(b"\n")[2],
    ],
)
def test_a_damaged_file_is_as_good_as_none(
    tmp_path: Path, damage: Callable[[bytes], bytes]
) -> None:
    answers = KeptAnswers(tmp_path)
    answers.write("key", REPORT)
    [path] = tmp_path.iterdir()
    path.write_bytes(damage(path.read_bytes()))
    assert answers.read("key") is None
    answers.write("key", REPORT)
    assert answers.read("key") == REPORT


def test_the_oldest_are_deleted_when_there_are_too_many(tmp_path: Path) -> None:
    answers = KeptAnswers(tmp_path, most_files=8)
    for number in range(9):
        answers.write(str(number), REPORT)
        if number < 8:
            os.utime(tmp_path / f"{number}.json", (number, number))
    assert sorted(path.stem for path in tmp_path.iterdir()) == ["3", "4", "5", "6", "7", "8"]


def test_the_oldest_are_deleted_when_they_are_too_large(tmp_path: Path) -> None:
    answers = KeptAnswers(tmp_path, most_bytes=4000)
    for number in range(50):
        answers.write(str(number), REPORT)
        os.utime(tmp_path / f"{number}.json", (number, number))
        assert sum(path.stat().st_size for path in tmp_path.iterdir()) <= 4000
    assert answers.read("0") is None
    assert answers.read("49") == REPORT


def test_a_folder_that_cannot_be_written_is_no_error(tmp_path: Path) -> None:
    (tmp_path / "checks").write_text("a file")
    answers = KeptAnswers(tmp_path / "checks")
    answers.write("key", REPORT)
    assert answers.read("key") is None


def test_a_full_disk_leaves_no_part_of_a_file(tmp_path: Path) -> None:
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, limits[1]))
    try:
        KeptAnswers(tmp_path).write("key", Report(warnings=("careful" * 100_000,)))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert list(tmp_path.iterdir()) == []
