"""Which tests run together in one process, and when a module of tests has taken too much."""

from pathlib import Path

import pytest

from tests.support.budgets import OF_MODULE, SECONDS, complaint
from tests.support.sharing import UNITS, place, unit_number

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize("path", [*(path for paths in UNITS for path in paths), *OF_MODULE])
def test_what_the_tables_name_is_there(path: str) -> None:
    assert (ROOT / path).exists()


def test_whole_stacks_are_two_units_and_other_files_come_after_the_units() -> None:
    numbers = [
        unit_number(f"{path}::test_it[a-b]")
        for path in (
            "tests/system/e2e/test_tutorial.py",
            "tests/system/e2e/test_presets.py",
            "tests/system/faults/test_ranks.py",
            "tests/system/faults/test_every_fault.py",
        )
    ]
    assert numbers == [0, 0, 1, 1]
    assert unit_number("tests/store/jobs/test_commands.py::test_it") == len(UNITS)


def test_a_file_that_a_unit_names_first_is_run_before_the_rest_of_its_folder() -> None:
    files = ("test_backup.py", "test_page.py", "test_whole_path.py")
    paths = [f"tests/system/e2e/{file}" for file in files]
    assert [path.rpartition("/")[2] for path in sorted(paths, key=place)] == [
        "test_whole_path.py", "test_backup.py", "test_page.py",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("module", "limit"), [("tests/store/jobs/test_commands.py", SECONDS), *OF_MODULE.items()]
)
def test_a_module_that_passes_its_budget_is_named_with_both_numbers(
    module: str, limit: float
) -> None:
    assert complaint(module, limit) is None
    said = complaint(module, limit + 1)
    assert said is not None
    assert module in said
    assert f"took {limit + 1:.0f} s" in said
    assert f"limit is {limit:.0f} s" in said
