"""How much ranges of a search mattered, on costs whose truth is planted."""

import math
from collections.abc import Callable, Mapping
from typing import Any

import pytest

from studies.report.tuning_tables import importance_notes, importance_table
from studies.spec.arms import list_arms
from studies.spec.space import ArmSpace
from studies.tuning.importance import ENOUGH_TRIALS, FEWEST_TRIALS, measure_importance
from studies.tuning.optuna_trials import TriedSetting
from studies.tuning.trials import Tried, TunedArm
from tests.support.result_rows import make_study

SPACE: dict[str, Any] = {
    "optimizer.lr": {"kind": "float", "low": 1e-3, "high": 1.0, "log": True},
    "optimizer.momentum": {"kind": "float", "low": 0.0, "high": 0.95},
    "training.batch_size": {"kind": "int", "low": 8, "high": 64},
    "norm.groups": {"kind": "categorical", "values": [1, 2, 4, 8], "when": {"norm.kind": "group"}},
}


def space_of(variant: str, seed: int = 0) -> ArmSpace:
    search = {
        "space": SPACE,
        "trials": 100,
        "seeds": [100],
        "sampler": {"kind": "quasi_random", "seed": seed},
    }
    base = {
        "dataset": {"name": "digits"},
        "model": {"name": "mlp", "hidden": [16]},
        "optimizer": {"kind": "sgd"},
    }
    study = make_study(search=search, base=base)
    return next(ArmSpace(study, arm) for arm in list_arms(study, []) if arm.variant == variant)


def of_rate(setting: Mapping[str, Any]) -> float:
    return abs(math.log(setting["optimizer.lr"] / 0.05))


def measure(space: ArmSpace, cost: Callable[[Any], float | None], trials: int) -> dict[str, float]:
    tried = [TriedSetting(one, cost(one)) for one in space.list_first(trials)]
    shares = measure_importance(space.search, tried)
    assert measure_importance(space.search, tried) == shares
    assert not shares or math.isclose(sum(shares.values()), 1.0)
    return dict(shares)


def test_the_range_that_decides_matters_most() -> None:
    shares = measure(space_of("none"), of_rate, 60)
    assert list(shares) == ["optimizer.lr", "optimizer.momentum", "training.batch_size"]
    assert shares["optimizer.lr"] > 0.7


def test_a_range_that_one_kind_alone_has_is_weighed_there() -> None:
    shares = measure(space_of("group"), lambda one: abs(one["norm.groups"] - 4.0), 60)
    assert max(shares, key=lambda path: shares[path]) == "norm.groups"


def test_of_few_trials_or_where_nothing_differs_nothing_is_said() -> None:
    space = space_of("none")
    assert measure(space, of_rate, FEWEST_TRIALS - 1) == {}
    assert measure(space, of_rate, FEWEST_TRIALS)
    assert measure(space, lambda one: 1.0, 40) == {}
    assert measure(space, lambda one: None, 40) == {}


def test_what_was_not_trained_to_its_end_is_none_of_the_best() -> None:
    """Half of the trials, the worst ones, are stopped or fail: the best quarter is the same."""
    space = space_of("none")
    whole = [TriedSetting(one, of_rate(one)) for one in space.list_first(40)]
    by_cost = sorted(whole, key=lambda trial: trial.cost or 0.0)
    cut = [
        *by_cost[:20],
        *(TriedSetting(trial.setting, 0.0, stopped=2) for trial in by_cost[20:30]),
        *(TriedSetting(trial.setting, None) for trial in by_cost[30:]),
    ]
    assert measure_importance(space.search, cut) == pytest.approx(
        measure_importance(space.search, whole)
    )
    # Ten are the best quarter, and nothing says which.
    assert measure_importance(space.search, [*cut[:10], *cut[20:], *cut[20:30]]) == {}


@pytest.mark.parametrize("trials", [FEWEST_TRIALS, ENOUGH_TRIALS])
def test_a_report_says_where_trials_are_too_few(trials: int) -> None:
    tried = tuple(
        Tried(setting={"optimizer.lr": 0.1}, mean=0.5, values={}, chosen=number == 0)
        for number in range(trials)
    )
    arm = TunedArm(
        arm="none", variant="none", point={}, tried=tried, importance={"optimizer.lr": 1.0}
    )
    table = importance_table([arm])
    assert table is not None
    assert table.rows == (("none", str(trials), "100%"),)
    assert importance_table([arm.model_copy(update={"importance": {}})]) is None
    few = [note for note in importance_notes([arm]) if "too few to rely on" in note]
    assert bool(few) == (trials < ENOUGH_TRIALS)
