"""What fewer trials would have come to, against all draws counted one by one."""

import itertools
import statistics
from collections.abc import Sequence

import numpy as np
import pytest

from studies.report.tuning_tables import budget_table
from studies.tuning.budget import best_by_budget, budgets, expected_best, leads
from studies.tuning.trials import Tried, TunedArm


def arm(values: Sequence[float | None], name: str = "a", size: int = 8) -> TunedArm:
    finite = [value for value in values if value is not None]
    return TunedArm(
        arm=name,
        variant=name,
        point={"training.batch_size": size},
        tried=tuple(
            Tried(setting={"optimizer.lr": number}, mean=value, values={9: value}, chosen=value == max(finite))
            for number, value in enumerate(values)
        ),
    )  # fmt: skip


@pytest.mark.parametrize("count", [1, 2, 3, 4])
def test_the_expected_best_is_the_mean_over_all_choices(count: int) -> None:
    values = [0.1, 0.4, 0.4, 0.9]
    every = [max(chosen) for chosen in itertools.combinations(values, count)]
    assert expected_best(values, count) == pytest.approx(statistics.fmean(every))


def test_more_trials_are_better_and_their_band_holds_the_expectation() -> None:
    values = list(np.random.default_rng(1).beta(5, 2, 16))
    row = best_by_budget(arm(values), "best_val_accuracy", learns=False)
    assert [best.trials for best in row] == list(budgets(16)) == [1, 2, 4, 8, 16]
    assert row[0].value == pytest.approx(statistics.fmean(values))
    for best, more in itertools.pairwise(row):
        assert best.value < more.value
    *fewer, whole = row
    for best in fewer:
        assert best.band is not None
        assert best.band[0] < best.value < best.band[1]
    # What came out; of the best of all, resampling tells nothing.
    assert (whole.value, whole.band) == (pytest.approx(max(values)), None)
    assert row == best_by_budget(arm(values), "best_val_accuracy", learns=False)


def test_a_band_covers_the_truth_about_as_often_as_it_says() -> None:
    """Of the mean, where percentile bands of 16 values are known to be a little narrow."""
    generator = np.random.default_rng(0)
    covered = 0
    for _ in range(200):
        row = best_by_budget(
            arm(list(generator.normal(size=16))), "best_val_accuracy", learns=False
        )
        band = row[0].band
        assert band is not None
        covered += band[0] <= 0.0 <= band[1]
    assert 0.86 < covered / 200 < 0.98


def test_of_losses_the_best_is_the_lowest() -> None:
    losses = [0.5, 0.2, 0.9, 0.4]
    row = best_by_budget(arm(losses), "best_val_loss", learns=False)
    assert [best.value for best in row] == sorted([best.value for best in row], reverse=True)
    every = [min(chosen) for chosen in itertools.combinations(losses, 2)]
    assert row[1].value == pytest.approx(statistics.fmean(every))


def test_where_trials_learn_fewer_of_them_are_the_first_ones() -> None:
    row = best_by_budget(arm([0.3, 0.2, 0.5, 0.4, 0.9, 0.8]), "best_val_accuracy", learns=True)
    assert [(best.trials, best.value, best.band) for best in row] == [
        (1, 0.3, None), (2, 0.3, None), (3, 0.5, None), (4, 0.5, None), (6, 0.9, None),
    ]  # fmt: skip


def test_a_trial_without_a_value_counts_as_the_worst() -> None:
    row = best_by_budget(arm([None, 0.2, 0.5, 0.4]), "best_val_accuracy", learns=True)
    assert row[0].value == 0.2
    assert best_by_budget(arm([0.2, 0.5, 0.4]), "best_val_accuracy", learns=True) == ()


def test_the_leading_arm_is_told_with_what_half_the_budget_would_have_shown() -> None:
    slow, fast = arm([0.1, 0.2, 0.9, 0.3], "slow"), arm([0.5, 0.6, 0.7, 0.6], "fast")
    [lead] = leads([fast, slow], "best_val_accuracy", learns=True)
    assert (lead.arm, lead.second, lead.trials) == ("slow", "fast", 4)
    assert lead.whole == pytest.approx(0.2)
    assert lead.half == pytest.approx(-0.4)
    elsewhere = arm([0.1, 0.2, 0.9, 0.3], "slow", size=4)
    assert list(leads([fast, elsewhere], "best_val_accuracy", learns=True)) == []


@pytest.mark.parametrize("learns", [False, True])
def test_the_arm_with_the_best_trial_leads_by_what_it_is_better(learns: bool) -> None:
    one_good, steady = arm([0.5, 0.9, *[0.5] * 10], "lucky"), arm([0.8] * 12, "steady")
    [lead] = leads([steady, one_good], "best_val_accuracy", learns=learns)
    assert (lead.arm, lead.second) == ("lucky", "steady")
    assert lead.whole == pytest.approx(0.1)
    # Half of the choices of six have its only good trial.
    assert lead.half == pytest.approx(0.1 if learns else -0.1)


def test_the_table_has_a_row_per_arm_and_a_column_per_budget() -> None:
    table = budget_table([arm([0.1, 0.2, 0.3, 0.4])], "test_accuracy", learns=True)
    assert table is not None
    assert table.header == ("arm", "of 1 trial", "of 2 trials", "of 4 trials")
    assert table.rows == (("a", "10.00 %", "20.00 %", "40.00 %"),)
    assert budget_table([arm([0.1, 0.2])], "test_accuracy", learns=True) is None
