"""Looks that were declared beforehand: boundaries, and Holm inside each look."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import special, stats
from statsmodels.stats.multitest import multipletests

from studies.spec.study import Spending
from studies.stats.group_sequential import _spend, nominal_levels, sequential_holm
from studies.stats.inference import LEVEL

#: Of a chance of this size, so many draws tell it to a few percent.
DRAWS = 200_000


@pytest.mark.parametrize(
    ("looks", "bounds"),
    [
        ([500, 1000], [2.9626, 1.9686]),
        ([300, 600, 900], [3.7103, 2.5114, 1.9930]),
        ([250, 500, 750, 1000], [4.3326, 2.9631, 2.3590, 2.0141]),
    ],
)
def test_the_bounds_of_many_seeds_are_the_published_ones_of_a_known_variance(
    looks: list[int], bounds: list[float]
) -> None:
    found = stats.norm.isf(np.array(nominal_levels(looks, 0.05)) / 2)
    assert found == pytest.approx(bounds, abs=0.01)
    assert all(found >= np.array(bounds) - 1e-4)


@pytest.mark.parametrize("looks", [[8, 16], [8, 9, 10, 11, 12], [8, 9, 40], [8, 16, 24, 32, 40]])
@pytest.mark.parametrize("spending", ["obrien_fleming", "kim_demets"])
@pytest.mark.parametrize("level", [0.05, 0.05 / 3])
def test_t_tests_of_few_seeds_spend_what_the_function_says(
    looks: list[int], spending: Spending, level: float
) -> None:
    values = np.random.default_rng(20261130).standard_normal((DRAWS, looks[-1]), dtype=np.float32)
    levels = nominal_levels(looks, level, spending)
    is_rejected = np.zeros(DRAWS, bool)
    for look, nominal in zip(looks, levels, strict=True):
        seen = values[:, :look]
        t = seen.mean(1) / seen.std(1, ddof=1) * math.sqrt(look)
        is_rejected |= 2 * special.stdtr(look - 1, -np.abs(t)) <= nominal
        spent = _spend(look / looks[-1], level, spending)
        # By chance alone in one of 10,000.
        assert abs(is_rejected.mean() - spent) <= 4 * math.sqrt(spent / DRAWS) + 0.002 * spent
    assert spent == pytest.approx(level)


def test_one_look_spends_all() -> None:
    assert nominal_levels([8], 0.05) == [0.05]


def test_a_first_look_far_ahead_of_the_last_spends_next_to_nothing() -> None:
    first, last = nominal_levels([8, 1000], 0.05 / 1000)
    assert first < 1e-100
    assert last == pytest.approx(0.05 / 1000, rel=1e-3)
    assert last <= 0.05 / 1000


@settings(deadline=None, max_examples=50)
@given(st.lists(st.floats(0, 1) | st.sampled_from([0.05, 0.025, 0.05 / 3]), max_size=8))
def test_with_one_look_it_is_plain_holm(p_values: list[float]) -> None:
    expected = multipletests(p_values, LEVEL, method="holm")[0] if p_values else []
    found = sequential_holm([p_values], [8])
    assert [look == 0 for look in found] == list(expected)


def test_each_look_asks_of_the_smallest_what_the_hypotheses_left_allow() -> None:
    looks = [8, 16]
    for left in (1, 2, 3):
        first, last = nominal_levels(looks, LEVEL / left)
        rest = [1.0] * (left - 1)
        assert sequential_holm([[first, *rest]], looks)[0] == 0
        assert sequential_holm([[first * 1.0001, *rest]], looks)[0] is None
        assert sequential_holm([[1.0, *rest], [last, *rest]], looks)[0] == 1
        assert sequential_holm([[1.0, *rest], [last * 1.0001, *rest]], looks)[0] is None


def test_what_was_rejected_stays_so_and_makes_room_at_later_looks() -> None:
    looks = [8, 16]
    alone = nominal_levels(looks, LEVEL)[1]
    assert nominal_levels(looks, LEVEL / 2)[1] < alone
    assert sequential_holm([[0.0, 0.9], [0.9, alone]], looks) == [0, 1]
    assert sequential_holm([[0.9, 0.9], [0.9, alone]], looks) == [None, None]


def test_a_larger_p_value_is_not_rejected_past_a_smaller_that_is_not() -> None:
    assert sequential_holm([[0.03, 0.04]], [8]) == [None, None]
    assert sequential_holm([[0.02, 0.04]], [8]) == [0, 0]


def test_looks_that_lie_ahead_are_not_needed_and_none_taken_rejects_none() -> None:
    assert sequential_holm([[1e-9, 0.5]], [8, 16, 24]) == [0, None]
    assert sequential_holm([[]], [8, 16]) == []
    assert sequential_holm([], [8, 16]) == []
