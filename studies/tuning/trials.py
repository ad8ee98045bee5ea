"""What an arm's trials come to: the setting that did best on validation."""

import math
import statistics
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Annotated, Any

from pydantic import Field

from store.results import ResultRow
from studies.comparison import FrozenModel
from studies.stats import higher_is_better, score, validation_metric

#: The metric of a trial that was stopped early: after how many periods.
STOPPED_PERIOD = "stopped_period"


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
    values: Annotated[dict[int, float | None], Field(description="by seed")]
    chosen: bool


class TunedArm(FrozenModel):
    """An arm with all that it tried, in the order of the study document."""

    arm: str
    variant: str
    point: dict[str, Any]
    tried: tuple[Tried, ...]

    @property
    def setting(self) -> dict[str, Any]:
        return next(one.setting for one in self.tried if one.chosen)


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
    def have_succeeded(self) -> bool:
        return all(row.status == "succeeded" for _, rows in self.settings for row in rows)


def choose(metric: str, arms: Iterable[Trials]) -> tuple[TunedArm, ...]:
    """By the mean on validation; of equals the first. A trial that diverged counts with its best checkpoint,
    else with chance; without either it is worse than any."""
    chosen_by = validation_metric(metric)
    sign = 1 if higher_is_better(chosen_by) else -1
    return tuple(_choose(one, chosen_by, sign) for one in arms)


def cost(rows: Sequence[ResultRow], metric: str) -> float | None:
    """What a setting's trials came to on validation, as `choose` takes it: the lower the better."""
    chosen_by = validation_metric(metric)
    mean = _average(score(row, chosen_by).value for row in rows)
    return None if mean is None else -mean if higher_is_better(chosen_by) else mean


def _choose(trials: Trials, metric: str, sign: int) -> TunedArm:
    values = [{row.seed: score(row, metric).value for row in rows} for _, rows in trials.settings]
    means = [_average(one.values()) for one in values]
    stops = [stopped_after(rows) for _, rows in trials.settings]
    # What a trial would have come to that was stopped, nobody knows.
    ranks = [
        -math.inf if mean is None or stop is not None else sign * mean
        for mean, stop in zip(means, stops, strict=True)
    ]
    # `index` takes the first of equals, so that the choice doesn't depend on which trial ended first.
    best = ranks.index(max(ranks))
    return TunedArm(
        arm=trials.arm,
        variant=trials.variant,
        point=trials.point,
        tried=tuple(
            Tried(setting=setting, mean=mean, stopped=stop, values=by_seed, chosen=index == best)
            for index, ((setting, _), by_seed, mean, stop) in enumerate(
                zip(trials.settings, values, means, stops, strict=True)
            )
        ),
    )


def stopped_after(rows: Sequence[ResultRow]) -> int | None:
    """Periods after which the first of a setting's trials was stopped early; None: none was."""
    stops = [row.metrics.get(STOPPED_PERIOD) for row in rows]
    return min((int(stop) for stop in stops if stop is not None), default=None)


def _average(values: Iterable[float | None]) -> float | None:
    # One seed without a value leaves the setting without a mean: it might otherwise win by its luckier seeds.
    known = list(values)
    finite = [value for value in known if value is not None]
    return statistics.fmean(finite) if finite and len(finite) == len(known) else None
