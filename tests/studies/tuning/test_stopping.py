"""Early stopping of trials, replayed: a planted arm that starts slowly and wins late, and what each rule loses."""

import math
from collections import Counter
from collections.abc import Callable, Sequence

import numpy as np
import pytest

from studies.tuning.stopping import PLAIN_ASHA, Policy, RecordedTrial, replay

PERIODS = 27


def fast(quality: float, period: int) -> float:
    return 0.80 * quality * (1 - math.exp(-period / 2))


def slow(quality: float, period: int) -> float:
    """Behind every fast one until late, and better in the end."""
    return 0.95 * quality / (1 + math.exp(-(period - 14) / 2))


def planted(draw: int, *, seeds: int = 2, trials: int = 12) -> list[RecordedTrial]:
    """Settings of both arms have qualities of one kind; each period of each seed has its noise."""
    generator = np.random.default_rng(draw)

    def curve(shape: Callable[[float, int], float], quality: float) -> tuple[float, ...]:
        return tuple(
            shape(quality, period) + generator.normal(0, 0.005) for period in range(1, PERIODS + 1)
        )

    return [
        RecordedTrial(arm, number, {seed: curve(shape, quality) for seed in range(seeds)})
        for arm, shape in (("fast", fast), ("slow", slow))
        for number, quality in enumerate(generator.uniform(0.7, 1.0, trials))
    ]


def value_of(trials: Sequence[RecordedTrial], arm: str, number: int) -> float:
    return next(one.value for one in trials if one.id == (arm, number))


def find_winner(trials: Sequence[RecordedTrial], policy: Policy | None) -> str:
    """The arm whose chosen setting does best in the end."""
    chosen = replay(trials, policy).chosen
    return max(chosen, key=lambda arm: value_of(trials, arm, chosen[arm]))


def test_a_slow_starter_that_wins_late_is_stopped_by_plain_asha_and_kept_in_the_same_replay() -> (
    None
):
    trials = planted(1)
    best = ("slow", replay(trials, None).chosen["slow"])
    assert find_winner(trials, None) == "slow"
    assert best in replay(trials, PLAIN_ASHA).censored
    assert find_winner(trials, PLAIN_ASHA) == "fast"
    kept = replay(trials, Policy("halving"))
    assert best not in kept.censored
    assert find_winner(trials, Policy("halving")) == "slow"
    assert kept.periods["slow"] < 0.5 * replay(trials, None).periods["slow"]


def test_plain_asha_often_makes_the_wrong_arm_win_and_fair_rules_hardly_ever() -> None:
    policies = {
        "plain": PLAIN_ASHA,
        "halving": Policy("halving"),
        "median": Policy("median"),
        "none": None,
    }
    wrong = Counter(
        {
            name: sum(find_winner(planted(draw), policy) == "fast" for draw in range(40))
            for name, policy in policies.items()
        }
    )
    assert wrong["none"] == 0
    # Of 100 draws: 36 by plain PLAIN_ASHA, none by halving within arms, one by the median within arms.
    assert wrong["plain"] >= 10
    assert wrong["halving"] <= 1
    assert wrong["median"] <= 2


def test_trials_that_are_worse_at_the_same_seeds_are_left_after_few_of_them() -> None:
    trials = planted(0, seeds=8)
    whole, paired = replay(trials, None), replay(trials, Policy("wilcoxon"))
    assert paired.chosen == whole.chosen
    assert paired.censored
    assert sum(paired.periods.values()) < 0.9 * sum(whole.periods.values())
    # Two seeds can't tell: the smallest p-value is 0.25.
    assert replay(planted(0), Policy("wilcoxon")).censored == frozenset()


def test_seed_by_seed_a_slow_starter_loses_nothing() -> None:
    """Of 100 draws with 8 seeds: the wrong arm wins in 44 by plain ASHA, in none by the paired rule, which saves 32 %."""
    wrong: Counter[str] = Counter()
    shares = []
    for draw in range(20):
        trials = planted(draw, seeds=8)
        whole, paired = replay(trials, None), replay(trials, Policy("wilcoxon"))
        wrong["plain"] += find_winner(trials, PLAIN_ASHA) == "fast"
        wrong["wilcoxon"] += find_winner(trials, Policy("wilcoxon")) == "fast"
        assert paired.chosen["slow"] == whole.chosen["slow"]
        shares.append(sum(paired.periods.values()) / sum(whole.periods.values()))
    assert wrong["wilcoxon"] == 0
    assert wrong["plain"] >= 5
    assert sum(shares) / len(shares) < 0.8


@pytest.mark.parametrize("rule", ["median", "halving", "wilcoxon"])
def test_of_each_arm_the_same_share_is_trained_to_the_end(rule: str) -> None:
    for draw in range(10):
        censored = replay(planted(draw, seeds=8), Policy(rule, finishers=0.5)).censored  # type: ignore[arg-type]
        stopped = Counter(arm for arm, _ in censored)
        assert all(stopped[arm] <= 6 for arm in ("fast", "slow"))


def test_a_stopped_trial_is_never_chosen() -> None:
    for draw in range(20):
        done = replay(planted(draw), Policy("halving"))
        assert not set(done.chosen.items()) & done.censored


@pytest.mark.parametrize(("periods", "is_stopped"), [(5, False), (9, True)])
def test_only_those_that_have_trained_as_long_are_peers(periods: int, is_stopped: bool) -> None:
    good = [RecordedTrial("a", number, {0: (1.0,) * periods}) for number in range(4)]
    bad = RecordedTrial("a", 4, {0: (0.0,) * 9})
    censored = replay([*good, bad], Policy("median", first=6)).censored
    assert (bad.id in censored) == is_stopped
    elsewhere = RecordedTrial("b", 4, {0: (0.0,) * 9})
    assert replay([*good, elsewhere], Policy("median", first=6, finishers=0.0)).censored == set()


def test_without_a_rule_all_is_trained() -> None:
    trials = planted(0)
    whole = replay(trials, None)
    assert whole.periods == {"fast": 12 * 2 * PERIODS, "slow": 12 * 2 * PERIODS}
    assert whole.censored == frozenset()
