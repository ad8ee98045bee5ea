"""The settings that a search tries next, by Optuna's ask and tell.

The sampler's state is what the trials came to, as SQL has it: proposals are a function of the study's document and of
the values that they are given, in the order of the trials. Whoever proposes again, after a crash or elsewhere, proposes
the same.
"""

import hashlib
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import islice
from typing import TYPE_CHECKING, Any

from studies.spec import (
    AnyRange,
    ArmSpace,
    Choice,
    FloatRange,
    IntRange,
    Setting,
    StudyError,
    Tpe,
    arm_name,
    expand_setting,
)

if TYPE_CHECKING:
    import optuna
    from optuna.distributions import BaseDistribution

#: Of proposals that were tried before or can't be read, so many are passed over for each that is needed; the sampler
#: takes milliseconds for one.
_MOST_ASKED, _MOST_POINTS = 10, 100


class SpaceExhausted(Exception):
    """An arm has fewer settings that can be trained than its search has trials."""


@dataclass(frozen=True, slots=True)
class TriedSetting:
    """`cost`: what its trials came to, the lower the better; None where they have no value, which is worse than any.
    `stopped`: early, after so many periods."""

    setting: Setting
    cost: float | None
    stopped: int | None = None


def propose(space: ArmSpace, tried: Sequence[TriedSetting], count: int) -> list[dict[str, Any]]:
    """Settings that weren't tried yet; `tried`: in the order of the trials. Raises `SpaceExhausted`."""
    settings = [dict(one.setting) for one in tried]
    # In a small space most of what the sampler asks for was tried. What is left of it is looked for evenly, then one
    # by one.
    for candidates in (
        islice(_ask(space, tried), _MOST_ASKED * count),
        islice(space.walk_points(), _MOST_POINTS * count),
        space.walk_settings(len(tried) + _MOST_POINTS * count),
    ):
        for setting in candidates:
            if len(settings) == len(tried) + count:
                return settings[len(tried) :]
            if setting not in settings and _is_readable(space, setting):
                settings.append(dict(setting))
    if len(settings) < len(tried) + count:
        raise SpaceExhausted(
            f"{arm_name(space.arm.variant, space.arm.point)!r} needs {count} more settings, but no others can be read as a spec"
        )
    return settings[len(tried) :]


def _ask(space: ArmSpace, tried: Sequence[TriedSetting]) -> Iterator[dict[str, Any]]:
    """Those that were asked for keep the next ones away (`constant_liar`, the default)."""
    # A second and 50 MB of a process that most jobs do without.
    import optuna

    sampler = space.search.sampler
    assert isinstance(sampler, Tpe)
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    # The first trials were told: no more are drawn at random.
    tpe = optuna.samplers.TPESampler(seed=_seed(space, sampler, len(tried)), n_startup_trials=1)
    study = optuna.create_study(direction="minimize", sampler=tpe)
    for one in tried:
        study.add_trial(_as_told(space, one))
    while True:
        trial = study.ask()
        yield space.draw(partial(_suggest, trial))


def _seed(space: ArmSpace, sampler: Tpe, tried: int) -> int:
    """Its own for each arm and batch: the generator's state isn't kept between batches."""
    name = arm_name(space.arm.variant, space.arm.point)
    digest = hashlib.blake2b(f"{sampler.seed} {tried} {name}".encode(), digest_size=4).digest()
    return int.from_bytes(digest, "big")


def _as_told(space: ArmSpace, tried: TriedSetting) -> "optuna.trial.FrozenTrial":
    import optuna

    ranges = {path: space.search.space[path] for path in tried.setting}
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
            path: one.values.index(tried.setting[path])
            if isinstance(one, Choice)
            else tried.setting[path]
            for path, one in ranges.items()
        },
        distributions={path: _distribution(one) for path, one in ranges.items()},
        **outcome,
    )


def _distribution(one: AnyRange) -> "BaseDistribution":
    from optuna import distributions

    match one:
        case FloatRange(low=low, log=log, step=step):
            return distributions.FloatDistribution(low, one.last, log, step)
        case IntRange(low=low, log=log, step=step):
            return distributions.IntDistribution(low, one.last, log, step)
        case Choice(values=values):
            # By number: a value may be a whole part of a spec.
            return distributions.CategoricalDistribution(range(len(values)))


def _suggest(trial: "optuna.trial.Trial", path: str, one: AnyRange) -> Any:
    match one:
        case FloatRange(low=low, log=log, step=step):
            return one.settle(trial.suggest_float(path, low, one.last, log=log, step=step))
        case IntRange(low=low, log=log, step=step):
            return trial.suggest_int(path, low, one.last, log=log, step=step)
        case Choice(values=values):
            return values[trial.suggest_categorical(path, range(len(values)))]


def _is_readable(space: ArmSpace, setting: Setting) -> bool:
    """The ends of each range were checked, but not all that they come to together."""
    try:
        expand_setting(space.study, space.arm.variant, space.arm.point, setting)
    except StudyError:
        return False
    return True
