"""Looks that were declared beforehand: published boundaries, and Holm inside each look."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from statsmodels.stats.multitest import multipletests

from studies.stats.group_sequential import nominal_levels, sequential_holm
from studies.stats.inference import LEVEL


@pytest.mark.parametrize(
    ("looks", "bounds"),
    [
        ([8, 16], [2.9626, 1.9686]),
        ([8, 16, 24], [3.7103, 2.5114, 1.9930]),
        ([10, 20, 30, 40], [4.3326, 2.9631, 2.3590, 2.0141]),
    ],
)
def test_the_bounds_are_the_published_ones(looks: list[int], bounds: list[float]) -> None:
    found = stats.norm.isf(np.array(nominal_levels(looks, 0.05)) / 2)
    assert found == pytest.approx(bounds, abs=1e-4)


@pytest.mark.parametrize("looks", [[8, 16], [8, 9, 40], [10, 12, 14, 40, 50]])
@pytest.mark.parametrize("level", [0.05, 0.05 / 3])
def test_each_side_spends_half_the_level_as_the_function_says(
    looks: list[int], level: float
) -> None:
    """Checked by the joint normal distribution of the looks' z values."""
    times = np.array(looks) / looks[-1]
    correlation = np.sqrt(np.minimum.outer(times, times) / np.maximum.outer(times, times))
    bounds = stats.norm.isf(np.array(nominal_levels(looks, level)) / 2)
    for count in range(1, len(looks) + 1):
        below = stats.multivariate_normal.cdf(
            bounds[:count],
            cov=correlation[:count, :count],
            abseps=1e-7,
            maxpts=2_000_000,
            rng=np.random.default_rng(0),
        )
        spent = 2 * stats.norm.sf(stats.norm.isf(level / 4) / np.sqrt(times[count - 1]))
        assert 1 - below == pytest.approx(spent, abs=2e-6)


def test_one_look_spends_all() -> None:
    assert nominal_levels([8], 0.05) == [0.05]


def test_a_first_look_far_ahead_of_the_last_spends_next_to_nothing() -> None:
    first, last = nominal_levels([8, 1000], 0.05 / 1000)
    assert first < 1e-100
    assert last == pytest.approx(0.05 / 1000)


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
