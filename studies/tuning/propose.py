"""The settings that a search tries next, by Optuna's ask and tell.

The sampler's state is what the trials came to, as SQL has it: proposals are a function of the study's document and of
the values that they are given, in the order of the trials. Whoever proposes again, after a crash or elsewhere, proposes
the same.
"""

import hashlib
import itertools
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import islice
from typing import Any, TypeAlias

from studies.spec import (
    ArmSpace,
    Setting,
    StudyError,
    Tpe,
    arm_name,
    expand_setting,
)
from studies.tuning.optuna_trials import TriedSetting, make_trial, suggest
from studies.tuning.trials import Refused
from trainer.spec import JobSpec

#: Of proposals that were tried before, or can't be trained, so many are passed over for each that is needed; the sampler
#: takes milliseconds for one.
_MOST_ASKED, _MOST_POINTS = 10, 100
#: Of those that can't be trained, in a batch: each may cost a look at its network.
MOST_REFUSED = 100

#: What is wrong with a trial's spec; nothing of one that can be trained.
FindProblems: TypeAlias = Callable[[JobSpec], Sequence[str]]


@dataclass(frozen=True, slots=True)
class Proposals:
    """`refused`: what was come upon on the way and can't be trained; `is_exhausted`: they are fewer than were asked for."""

    settings: Sequence[dict[str, Any]]
    refused: Sequence[Refused]
    is_exhausted: bool


def propose(
    space: ArmSpace,
    tried: Sequence[TriedSetting],
    count: int,
    refused: Sequence[Refused] = (),
    find_problems: FindProblems = lambda spec: (),
) -> Proposals:
    """Settings that weren't tried yet and can be trained. `tried`: in the order of the trials; `refused`: for earlier
    batches, which the sampler is told as worse than any."""
    settings: list[dict[str, Any]] = []
    problems: list[Refused] = []
    passed = [*(dict(trial.setting) for trial in tried), *(misfit.setting for misfit in refused)]
    # In a small space most of what the sampler asks for was tried. What is left of it is looked for evenly, then one
    # by one.
    candidates = itertools.chain(
        islice(_ask(space, tried, refused, problems), _MOST_ASKED * count),
        islice(space.walk_points(), _MOST_POINTS * count),
        space.walk_settings(len(passed) + _MOST_POINTS * count),
    )
    while len(settings) < count and len(problems) < MOST_REFUSED:
        setting = next(candidates, None)
        if setting is None:
            break
        if setting in passed:
            continue
        passed.append(dict(setting))
        if (why := _find_problem(space, setting, find_problems)) is not None:
            problems.append(Refused(setting=dict(setting), why=why))
        else:
            settings.append(dict(setting))
    return Proposals(settings, problems, is_exhausted=len(settings) < count)


def _ask(
    space: ArmSpace,
    tried: Sequence[TriedSetting],
    refused: Sequence[Refused],
    problems: Sequence[Refused],
) -> Iterator[dict[str, Any]]:
    """Those that were asked for keep the next ones away (`constant_liar`, the default); `problems` grows with those of
    them that can't be trained."""
    # A second and 50 MB of a process that most jobs do without.
    import optuna

    sampler = space.search.sampler
    assert isinstance(sampler, Tpe)
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    # The first trials were told: no more are drawn at random.
    tpe = optuna.samplers.TPESampler(seed=_seed(space, sampler, len(tried)), n_startup_trials=1)
    study = optuna.create_study(direction="minimize", sampler=tpe)
    for told in (*tried, *(TriedSetting(misfit.setting, None) for misfit in refused)):
        study.add_trial(make_trial(space.search, told))
    while True:
        count = len(problems)
        trial = study.ask()
        yield space.draw(partial(suggest, trial))
        if len(problems) > count:
            study.tell(trial, math.inf)


def _seed(space: ArmSpace, sampler: Tpe, tried: int) -> int:
    """Its own for each arm and batch: the generator's state isn't kept between batches."""
    name = arm_name(space.arm.variant, space.arm.point)
    digest = hashlib.blake2b(f"{sampler.seed} {tried} {name}".encode(), digest_size=4).digest()
    return int.from_bytes(digest, "big")


def _find_problem(space: ArmSpace, setting: Setting, find_problems: FindProblems) -> str | None:
    """Why it can't be trained. The ends of each range were checked, but not all that they come to together."""
    try:
        cells = expand_setting(space.study, space.arm.variant, space.arm.point, setting)
    except StudyError as error:
        return error.problems[0].detail
    return next(iter(find_problems(cells[0].spec)), None)
