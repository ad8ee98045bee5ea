"""What an arm's trials come to: the setting that did best on validation."""

import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any

from pydantic import Field

from store.results import ResultRow
from studies.comparison import FrozenModel
from studies.stats import higher_is_better, score, validation_metric

#: The metric of a trial that was stopped early: after how many periods.
STOPPED_PERIOD = "stopped_period"
#: Ends of a trial that its own setting is to blame for: trained again, it would end like that again.
OWN_FAILURES = ("oom", "timeout")


class Tried(FrozenModel):
    """A setting and what its trials reached on validation, mean over the tuning seeds."""

    setting: dict[str, Any]
    mean: float | None
    stopped: Annotated[
        int | None,
        Field(
            description="early, after so many periods at some seed: its mean is what it had then"
        ),
    ] = None
    left_after: Annotated[
        int | None,
        Field(description="seeds, after which it was behind, and was trained at no others"),
    ] = None
    failed: Annotated[
        str | None,
        Field(
            description="oom or timeout at some seed: it counts as worse than any, and is never chosen"
        ),
    ] = None
    values: Annotated[dict[int, float | None], Field(description="by seed")]
    chosen: bool

    @property
    def is_whole(self) -> bool:
        """It was trained to the end at all seeds, and has a value."""
        ends = (self.stopped, self.left_after, self.failed)
        return self.mean is not None and all(end is None for end in ends)


class Refused(FrozenModel):
    """A setting that a search came upon and that can't be trained: it was never, and is none of the arm's trials."""

    setting: dict[str, Any]
    why: str


class SearchedArm(FrozenModel):
    """What a search has come upon in an arm besides its trials."""

    refused: tuple[Refused, ...] = ()
    exhausted_after: Annotated[
        int | None,
        Field(
            description="settings tried, fewer than it may try: no others that can be trained were found"
        ),
    ] = None


class TunedArm(FrozenModel):
    """An arm with all that it tried, in the order of the study document."""

    arm: str
    variant: str
    point: dict[str, Any]
    tried: tuple[Tried, ...]
    searched: SearchedArm = SearchedArm()
    importance: Annotated[
        dict[str, float],
        Field(
            default_factory=dict,
            description="of a search, by path: how much it mattered for being among the arm's best trials; adds up to 1",
        ),
    ]

    @property
    def setting(self) -> dict[str, Any]:
        return next(tried.setting for tried in self.tried if tried.chosen)


@dataclass(frozen=True, slots=True)
class Trials:
    """The trials of one arm: a setting, and the result rows of its jobs."""

    arm: str
    variant: str
    point: dict[str, Any]
    settings: Sequence[tuple[dict[str, Any], Sequence[ResultRow]]]

    @property
    def jobs(self) -> Sequence[tuple[int, ResultRow]]:
        """All, with the numbers of their settings."""
        return [(number, row) for number, (_, rows) in enumerate(self.settings) for row in rows]

    @property
    def have_ended(self) -> bool:
        """None is to be trained, or trained again: what a machine or a person has ended is."""
        return all(
            row.status == "succeeded" or has_failed_itself(row)
            for _, rows in self.settings
            for row in rows
        )

    @property
    def can_be_chosen_from(self) -> bool:
        """Whether all have ended, and some setting could be trained at every seed."""
        return self.have_ended and any(failure(rows) is None for _, rows in self.settings)


def has_failed_itself(row: ResultRow) -> bool:
    """For good, and by what it trains."""
    return row.status == "failed" and row.reason in OWN_FAILURES


def failure(rows: Sequence[ResultRow]) -> str | None:
    """Why the first of a setting's trials that failed by itself did; None: none did."""
    return next((row.reason for row in rows if has_failed_itself(row)), None)


def choose(
    metric: str, arms: Iterable[Trials], searched: Mapping[str, SearchedArm] | None = None
) -> tuple[TunedArm, ...]:
    """By the mean on validation; of equals the first. A trial that diverged counts with its best checkpoint,
    else with chance; without either, or failed by itself, it is worse than any. `searched`: by the name of the arm."""
    chosen_by = validation_metric(metric)
    sign = 1 if higher_is_better(chosen_by) else -1
    return tuple(
        _choose(arm, chosen_by, sign, (searched or {}).get(arm.arm, SearchedArm())) for arm in arms
    )


def cost(rows: Sequence[ResultRow], metric: str) -> float | None:
    """What a setting's trials came to on validation, as `choose` takes it: the lower the better."""
    chosen_by = validation_metric(metric)
    mean = _average(score(row, chosen_by).value for row in rows)
    return None if mean is None else -mean if higher_is_better(chosen_by) else mean


def _choose(trials: Trials, metric: str, sign: int, searched: SearchedArm) -> TunedArm:
    seeds = max(len(rows) for _, rows in trials.settings)
    tried = [_read(setting, rows, metric, seeds) for setting, rows in trials.settings]
    ranks = [_rank(setting, sign) for setting in tried]
    # `index` takes the first of equals, so that the choice doesn't depend on which trial ended first.
    best = ranks.index(max(ranks))
    return TunedArm(
        arm=trials.arm,
        variant=trials.variant,
        point=trials.point,
        tried=tuple(
            setting.model_copy(update={"chosen": number == best})
            for number, setting in enumerate(tried)
        ),
        searched=searched,
        importance={},
    )


def _read(setting: dict[str, Any], rows: Sequence[ResultRow], metric: str, seeds: int) -> Tried:
    values = {row.seed: score(row, metric).value for row in rows}
    return Tried(
        setting=setting,
        mean=_average(values.values()),
        stopped=stopped_after(rows),
        left_after=len(rows) if len(rows) < seeds else None,
        failed=failure(rows),
        values=values,
        chosen=False,
    )


def _rank(setting: Tried, sign: int) -> tuple[int, float]:
    """The higher the better. What can't be trained comes last, before it what has no value, or was stopped: what that would
    have come to nobody knows."""
    if setting.failed is not None:
        return 0, 0.0
    return (2, sign * setting.mean) if setting.is_whole and setting.mean is not None else (1, 0.0)


def stopped_after(rows: Sequence[ResultRow]) -> int | None:
    """Periods after which the first of a setting's trials was stopped early; None: none was."""
    stops = [row.metrics.get(STOPPED_PERIOD) for row in rows]
    return min((int(stop) for stop in stops if stop is not None), default=None)


def _average(values: Iterable[float | None]) -> float | None:
    # One seed without a value leaves the setting without a mean: it might otherwise win by its luckier seeds.
    given = list(values)
    finite = [value for value in given if value is not None]
    return statistics.fmean(finite) if finite and len(finite) == len(given) else None
