"""Settings as Optuna's trials, and its suggestions as settings. Optuna is imported where it is used: a second and 50 MB of a
process that most jobs do without."""

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from studies.spec import AnyRange, Choice, FloatRange, IntRange, Search, Setting

if TYPE_CHECKING:
    import optuna
    from optuna.distributions import BaseDistribution


@dataclass(frozen=True, slots=True)
class TriedSetting:
    """`cost`: what its trials came to, the lower the better; None where they have no value, which is worse than any.
    `stopped`: early, after so many periods."""

    setting: Setting
    cost: float | None
    stopped: int | None = None


def make_trial(search: Search, tried: TriedSetting) -> "optuna.trial.FrozenTrial":
    """An ended one of the setting."""
    import optuna

    ranges = {path: search.space[path] for path in tried.setting}
    cost = math.inf if tried.cost is None else tried.cost
    # Of a pruned one Optuna knows that it is worse than those that were trained to the end, and how far it got.
    outcome: dict[str, Any] = {"value": cost}
    if tried.stopped is not None:
        outcome = {
            "state": optuna.trial.TrialState.PRUNED,
            "intermediate_values": {tried.stopped: cost},
        }
    return optuna.trial.create_trial(
        params={
            path: searched.values.index(tried.setting[path])
            if isinstance(searched, Choice)
            else tried.setting[path]
            for path, searched in ranges.items()
        },
        distributions={path: _distribution(searched) for path, searched in ranges.items()},
        **outcome,
    )


def _distribution(searched: AnyRange) -> "BaseDistribution":
    from optuna import distributions

    match searched:
        case FloatRange(low=low, log=log, step=step):
            return distributions.FloatDistribution(low, searched.last, log, step)
        case IntRange(low=low, log=log, step=step):
            return distributions.IntDistribution(low, searched.last, log, step)
        case Choice(values=values):
            # By number: a value may be a whole part of a spec.
            return distributions.CategoricalDistribution(range(len(values)))


def suggest(trial: "optuna.trial.Trial", path: str, searched: AnyRange) -> Any:
    """The setting's value for the range, as the sampler has it."""
    match searched:
        case FloatRange(low=low, log=log, step=step):
            return searched.settle(
                trial.suggest_float(path, low, searched.last, log=log, step=step)
            )
        case IntRange(low=low, log=log, step=step):
            return trial.suggest_int(path, low, searched.last, log=log, step=step)
        case Choice(values=values):
            return values[trial.suggest_categorical(path, range(len(values)))]
