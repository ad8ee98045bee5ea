"""A study's tuning as tables of words: its trials, the best of fewer, and what stopping early would have done."""

from collections.abc import Iterator, Sequence

from studies.report.tables import NOTHING, Table
from studies.spec import arm_name
from studies.stats import amount, bounds, size, validation_metric
from studies.tuning import BestOf, ReplayedRule, TunedArm, best_by_budget


def trials_table(tuned: Sequence[TunedArm], metric: str) -> Table:
    """A row per setting of each arm, the chosen one marked."""
    chosen_by = validation_metric(metric)
    header = ("arm", "setting", f"mean {chosen_by.replace('_', ' ')}", "seeds", "")
    return Table(header, tuple(_trial_rows(tuned, chosen_by)))


def budget_table(tuned: Sequence[TunedArm], metric: str, *, learns: bool) -> Table | None:
    """A row per arm: the best of fewer trials; None where they are too few."""
    chosen_by = validation_metric(metric)
    by_arm = {one.arm: best_by_budget(one, chosen_by, learns=learns) for one in tuned}
    counts = sorted({best.trials for row in by_arm.values() for best in row})
    if not counts:
        return None
    header = ("arm", *(f"of {count} trial{'s' if count > 1 else ''}" for count in counts))
    rows = []
    for arm, row in by_arm.items():
        cells = {best.trials: _best(best, chosen_by) for best in row}
        rows.append((arm, *(cells.get(count, NOTHING) for count in counts)))
    return Table(header, tuple(rows))


def replays_table(replays: Sequence[ReplayedRule], metric: str) -> Table | None:
    """A row per rule that stops trials early."""
    if not replays:
        return None
    header = ("rule", "saved", "stopped", "another choice for", "at most worse by")
    return Table(header, tuple(_replay_row(one, validation_metric(metric)) for one in replays))


def _trial_rows(tuned: Sequence[TunedArm], metric: str) -> Iterator[tuple[str, ...]]:
    for arm in tuned:
        for one in arm.tried:
            setting = arm_name("", one.setting).removeprefix(" · ")
            mean = NOTHING if one.mean is None else amount(one.mean, metric)
            seeds = ", ".join(map(str, one.values))
            note = "chosen" if one.chosen else ""
            if one.stopped is not None:
                note = f"stopped after {one.stopped}"
            yield (arm.arm, setting, mean, seeds, note)


def _best(best: BestOf, metric: str) -> str:
    value = amount(best.value, metric)
    return value if best.band is None else f"{value} ({bounds(best.band, metric)})"


def _replay_row(one: ReplayedRule, metric: str) -> tuple[str, ...]:
    stopped = ", ".join(f"{arm} {count}" for arm, count in one.stopped.items())
    others = ", ".join(one.other_choice) or NOTHING
    loss = size(one.loss, metric) if one.other_choice else NOTHING
    return (one.rule, f"{one.saved:.0%}", stopped, others, loss)
