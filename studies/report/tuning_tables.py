"""A study's tuning as tables of words: its trials, the best of fewer, and what stopping early would have done."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from studies.report.tables import NOTHING, Table
from studies.spec import arm_name
from studies.stats import amount, bounds, count, listed, size, validation_metric
from studies.tuning import (
    BEST_SHARE,
    ENOUGH_FOR_IMPORTANCE,
    BestOf,
    ReplayedRule,
    Tried,
    TunedArm,
    best_by_budget,
)


def trials_table(tuned: Sequence[TunedArm], metric: str) -> Table:
    """A row per setting of each arm, the chosen one marked."""
    chosen_by = validation_metric(metric)
    header = ("arm", "setting", f"mean {chosen_by.replace('_', ' ')}", "seeds", "")
    return Table(header, tuple(_trial_rows(tuned, chosen_by)))


def trial_notes(tuned: Sequence[TunedArm], trials: int | None) -> Iterator[str]:
    """What an arm's trials were not. `trials`: of each arm by the study document, None where no search has them."""
    for arm in tuned:
        tried, refused = len(arm.tried), arm.searched.refused
        if trials is not None and arm.searched.exhausted_after is not None:
            yield f"{arm.arm} had {tried} trials of {trials}: its space has no others that can be trained"
        if failed := [one for one in arm.tried if one.failed is not None]:
            yield (
                f"{arm.arm}: {count(len(failed), 'setting')} ran out of memory or time, which counts as worse than any "
                f"other"
            )
        if refused:
            are = "was" if len(refused) == 1 else "were"
            yield (
                f"{arm.arm}: {count(len(refused), 'setting')} that can't be trained {are} skipped, such as "
                f"{describe_setting(refused[0].setting)}: {refused[0].why}"
            )
    if any(tried.left_after is not None for arm in tuned for tried in arm.tried):
        yield (
            "A setting that was left was behind another at the seeds that it has; its mean is over these alone, and may be "
            "above that of the chosen one over all"
        )


def describe_setting(setting: Mapping[str, Any]) -> str:
    """`lr=0.1 · groups=4`"""
    return arm_name("", setting).removeprefix(" · ")


def budget_table(tuned: Sequence[TunedArm], metric: str, *, learns: bool) -> Table | None:
    """A row per arm: the best of fewer trials; None where they are too few."""
    chosen_by = validation_metric(metric)
    by_arm = {one.arm: best_by_budget(one, chosen_by, learns=learns) for one in tuned}
    counts = sorted({best.trials for row in by_arm.values() for best in row})
    if not counts:
        return None
    header = ("arm", *(f"of {count(number, 'trial')}" for number in counts))
    rows = []
    for arm, row in by_arm.items():
        cells = {best.trials: _best(best, chosen_by) for best in row}
        rows.append((arm, *(cells.get(number, NOTHING) for number in counts)))
    return Table(header, tuple(rows))


def importance_table(tuned: Sequence[TunedArm]) -> Table | None:
    """A row per arm, a column per range of the search; None where nothing was measured."""
    measured = [arm for arm in tuned if arm.importance]
    if not measured:
        return None
    paths = sorted({path for arm in measured for path in arm.importance})
    rows = []
    for arm in measured:
        shares = [arm.importance.get(path) for path in paths]
        cells = (NOTHING if share is None else f"{share:.0%}" for share in shares)
        rows.append((arm.arm, str(len(arm.tried)), *cells))
    return Table(("arm", "trials", *paths), tuple(rows))


def importance_notes(tuned: Sequence[TunedArm]) -> Iterator[str]:
    yield (
        f"How much each range mattered for being among the best {BEST_SHARE:.0%} of the arm's trials, of which what was "
        "stopped or has failed is none (PED-ANOVA, Watanabe et al. 2023, arXiv 2304.10255), each range by itself: what two "
        "do together isn't in it"
    )
    if few := [
        arm.arm for arm in tuned if arm.importance and len(arm.tried) < ENOUGH_FOR_IMPORTANCE
    ]:
        yield (
            f"{listed(few)}: fewer than {ENOUGH_FOR_IMPORTANCE} trials, too few to rely on; a range that "
            "seems to matter may do so by chance"
        )


def replays_table(replays: Sequence[ReplayedRule], metric: str) -> Table | None:
    """A row per rule that stops trials early."""
    if not replays:
        return None
    header = ("rule", "saved", "stopped", "another choice for", "at most worse by")
    return Table(header, tuple(_replay_row(one, validation_metric(metric)) for one in replays))


def _trial_rows(tuned: Sequence[TunedArm], metric: str) -> Iterator[tuple[str, ...]]:
    for arm in tuned:
        for one in arm.tried:
            setting = describe_setting(one.setting)
            mean = NOTHING if one.mean is None else amount(one.mean, metric)
            seeds = ", ".join(map(str, one.values))
            yield (arm.arm, setting, mean, seeds, _describe_end(one))


def _describe_end(one: Tried) -> str:
    if one.failed is not None:
        return f"failed: {one.failed}"
    if one.stopped is not None:
        return f"stopped after {one.stopped}"
    if one.left_after is not None:
        return f"left after {one.left_after} seeds"
    return "chosen" if one.chosen else ""


def _best(best: BestOf, metric: str) -> str:
    value = amount(best.value, metric)
    return value if best.band is None else f"{value} ({bounds(best.band, metric)})"


def _replay_row(one: ReplayedRule, metric: str) -> tuple[str, ...]:
    stopped = ", ".join(f"{arm} {number}" for arm, number in one.stopped.items())
    others = ", ".join(one.other_choice) or NOTHING
    loss = size(one.loss, metric) if one.other_choice else NOTHING
    return (one.rule, f"{one.saved:.0%}", stopped, others, loss)
