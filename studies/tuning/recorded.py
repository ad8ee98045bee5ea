"""Rules that stop trials early, replayed over those of a study that stopped none: what each would have saved, and cost."""

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Annotated

from pydantic import Field
from sqlalchemy.orm import Session

from store.db import Study
from store.results import result_rows, series
from studies.comparison import FrozenModel
from studies.spec import FEWEST_PAIRED_SEEDS, read_study
from studies.stats import higher_is_better, validation_metric
from studies.tuning.select import group_trials
from studies.tuning.stopping import PLAIN_ASHA, Policy, RecordedTrial, Replay, replay
from studies.tuning.trials import Trials

#: Fewer settings of an arm, or periods, leave nothing to be stopped; of more a replay takes too long.
FEWEST_SETTINGS, FEWEST_PERIODS, MOST_SETTINGS = 6, 4, 200
#: Rows of all trials together.
MOST_PERIODS = 50_000
_RULES: Mapping[str, Policy] = {
    "ASHA over all arms": PLAIN_ASHA,
    "halving within arms": Policy("halving"),
    "median within arms": Policy("median"),
    "paired by seed within arms": Policy("wilcoxon"),
}


class ReplayedRule(FrozenModel):
    """What would have come of the study's trials under a rule."""

    rule: str
    saved: Annotated[float, Field(description="share of the periods that were trained")]
    stopped: Annotated[dict[str, int], Field(description="trials, by arm")]
    other_choice: Annotated[
        tuple[str, ...], Field(description="arms whose best setting would have been stopped")
    ]
    loss: Annotated[float, Field(description="by which the worst of them is worse on validation")]


def read_replays(session: Session, study: Study) -> tuple[ReplayedRule, ...]:
    """Of a study whose tuning or search has chosen; none where its trials are too few, too short or too many."""
    if study.tuning is None:
        return ()
    spec = read_study(study.spec)
    # What was stopped has no end to be compared with.
    if spec.search is not None and spec.search.stop is not None:
        return ()
    grouped = list(group_trials(result_rows.study_rows(session, study.id, trials=True)))
    sizes = [len(arm.settings) for arm in grouped]
    if min(sizes, default=0) < FEWEST_SETTINGS or sum(sizes) > MOST_SETTINGS:
        return ()
    metric = validation_metric(spec.metric)
    sign = 1.0 if higher_is_better(metric) else -1.0
    jobs = [row.job_id for arm in grouped for _, row in arm.jobs]
    curves = series.job_curves(session, jobs, metric.removeprefix("best_"), MOST_PERIODS)
    trials = list(_record(grouped, curves, sign))
    if len(trials) < sum(sizes) or min(trial.periods for trial in trials) < FEWEST_PERIODS:
        return ()
    return tuple(_replay_all(trials))


def _record(
    grouped: Sequence[Trials], curves: Mapping[int, Sequence[float | None]], sign: float
) -> Iterator[RecordedTrial]:
    """Those whose jobs have a number at all."""
    for arm in grouped:
        for number, (_, rows) in enumerate(arm.settings):
            by_seed = {row.seed: _fill(curves.get(row.job_id, ()), sign) for row in rows}
            if all(by_seed.values()):
                yield RecordedTrial(arm.arm, number, by_seed)


def _fill(curve: Sequence[float | None], sign: float) -> list[float]:
    """A period whose value isn't finite has that of the one before: it is no progress; empty where none is."""
    values: list[float] = []
    for value in curve:
        if value is not None and math.isfinite(value):
            values.append(sign * value)
        elif values:
            values.append(values[-1])
    return values


def _replay_all(trials: Sequence[RecordedTrial]) -> Iterator[ReplayedRule]:
    whole = replay(trials, None)
    seeds = min(len(trial.curves) for trial in trials)
    for name, policy in _RULES.items():
        if policy.rule != "wilcoxon" or seeds >= FEWEST_PAIRED_SEEDS:
            yield _compare(name, trials, whole, replay(trials, policy))


def _compare(
    name: str, trials: Sequence[RecordedTrial], whole: Replay, stopped: Replay
) -> ReplayedRule:
    values = {trial.id: trial.value for trial in trials}
    worst = {arm: min(trial.value for trial in trials if trial.arm == arm) for arm in whole.periods}
    losses = {
        arm: values[arm, number]
        - (values[arm, stopped.chosen[arm]] if arm in stopped.chosen else worst[arm])
        for arm, number in whole.chosen.items()
        if stopped.chosen.get(arm) != number
    }
    trained, all_periods = sum(stopped.periods.values()), sum(whole.periods.values())
    return ReplayedRule(
        rule=name,
        saved=1.0 - trained / all_periods,
        stopped={
            arm: sum(stopped_arm == arm for stopped_arm, _ in stopped.censored)
            for arm in whole.periods
        },
        other_choice=tuple(losses),
        loss=max(losses.values(), default=0.0),
    )
