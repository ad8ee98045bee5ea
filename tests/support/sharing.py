"""How `pytest -n 3` shares the tests: whole units, the longest first, each in one process and in order."""

import pytest
from xdist.remote import Producer
from xdist.scheduler.loadscope import LoadScopeScheduling

#: Folders and files that make one unit, in the order in which they are run; every other file is a unit of its own. Together are tests that
#: need a whole stack and would only slow each other down, and tests that share a server that takes long
#: to start (MLflow, the helper that checks specs). Then come the files that take longest: one of them at
#: the end would leave the other processes idle for minutes.
UNITS = (
    (
        # These wait for MLflow, which would be late behind the runs of others.
        "tests/system/e2e/test_whole_path.py",
        "tests/system/e2e/test_techniques.py",
        "tests/system/e2e/test_backup.py",
        "tests/system/e2e/",
        "tests/system/compose/",
    ),
    ("tests/system/faults/",),
    ("tests/worker/",),
    ("tests/api/",),
    ("tests/trainer/surgery/test_every_model.py",),
    ("tests/trainer/training/test_every_entry.py",),
    ("tests/trainer/surgery/test_place_dropout.py",),
    ("tests/trainer/checks/test_presets.py",),
    ("tests/trainer/surgery/test_weight_parametrization.py",),
    ("tests/trainer/training/test_checkpoint.py",),
    ("tests/studies/report/test_report.py",),
    ("tests/studies/figures/test_render.py",),
)


class ByUnit(LoadScopeScheduling):
    """As `--dist loadfile`, with units instead of files, in the order of the collection."""

    def __init__(self, config: pytest.Config, log: Producer | None = None) -> None:
        super().__init__(config, log)
        self.config.option.loadscopereorder = False

    def _split_scope(self, nodeid: str) -> str:
        number = unit_number(nodeid)
        return str(number) if number < len(UNITS) else nodeid.partition("::")[0]


def unit_number(nodeid: str) -> int:
    """Of the unit in `UNITS`; all the others come after them."""
    return place(nodeid)[0]


def place(nodeid: str) -> tuple[int, int]:
    """The numbers of its unit and, within the unit, of the first path that it is below."""
    return next(
        (
            (number, within)
            for number, paths in enumerate(UNITS)
            for within, path in enumerate(paths)
            if nodeid.startswith(path)
        ),
        (len(UNITS), 0),
    )
