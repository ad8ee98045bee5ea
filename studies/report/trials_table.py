"""All trials of a study's tuning as a table of words."""

from collections.abc import Iterator, Sequence

from studies.comparison import validation_metric
from studies.report.tables import NOTHING, Table
from studies.spec import arm_name
from studies.stats import amount
from studies.tuning import TunedArm


def trials_table(tuned: Sequence[TunedArm], metric: str) -> Table:
    """A row per setting of each arm, the chosen one marked."""
    chosen_by = validation_metric(metric)
    header = ("arm", "setting", f"mean {chosen_by.replace('_', ' ')}", "seeds", "")
    return Table(header, tuple(_rows(tuned, chosen_by)))


def _rows(tuned: Sequence[TunedArm], metric: str) -> Iterator[tuple[str, ...]]:
    for arm in tuned:
        for one in arm.tried:
            setting = arm_name("", one.setting).removeprefix(" · ")
            mean = NOTHING if one.mean is None else amount(one.mean, metric)
            seeds = ", ".join(map(str, one.values))
            yield (arm.arm, setting, mean, seeds, "chosen" if one.chosen else "")
