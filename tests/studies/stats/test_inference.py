"""The statistics against scipy and statsmodels, and the rules where those have none."""

import statistics
import subprocess
import sys
from random import Random

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from statsmodels.stats.multitest import multipletests
from statsmodels.stats.power import TTestPower
from statsmodels.stats.weightstats import ttost_paired

from studies.stats.inference import (
    LEVEL,
    POWER,
    _sample_deviation,
    bootstrap_interval,
    deviation,
    effect_size,
    equivalence_p_value,
    holm,
    interquartile_mean,
    mean,
    paired_p_value,
    probability_of_improvement,
    seeds_needed,
    slope,
    t_interval,
    wilcoxon_p_value,
)

#: Equal but for the last bits: 0.3 - 0.2 is not 0.2 - 0.1, and 0.1 + 0.2 is not 0.3.
SAME = [0.3 - 0.2, 0.2 - 0.1] * 4
NOTHING = [0.1 + 0.2 - 0.3, 0.0] * 4


def arms(n: int, gap: float = 0.01) -> tuple[list[float], list[float]]:
    draw = np.random.default_rng(n)
    return draw.normal(0.9, 0.02, n).tolist(), draw.normal(0.9 + gap, 0.02, n).tolist()


def gaps(n: int, gap: float = 0.01) -> list[float]:
    return [other - one for one, other in zip(*arms(n, gap), strict=True)]


SIZES = pytest.mark.parametrize("n", [8, 9, 16, 60])
numbers = st.floats(-1, 1).map(lambda one: round(one, 6))
differences = st.lists(numbers, min_size=8, max_size=20)
chances = st.lists(st.floats(0, 1), max_size=12)
properties = settings(deadline=None, max_examples=60)


@SIZES
def test_the_interval_is_students(n: int) -> None:
    values = arms(n)[0]
    expected = stats.t.interval(0.95, n - 1, np.mean(values), stats.sem(values))
    assert t_interval(values) == pytest.approx(expected, abs=1e-9)


@SIZES
def test_the_paired_test_is_scipys(n: int) -> None:
    one, other = arms(n)
    assert paired_p_value(gaps(n)) == pytest.approx(stats.ttest_rel(other, one).pvalue, abs=1e-9)


@SIZES
def test_wilcoxons_test_is_scipys(n: int) -> None:
    assert wilcoxon_p_value(gaps(n)) == pytest.approx(stats.wilcoxon(gaps(n)).pvalue, abs=1e-9)


@pytest.mark.parametrize("n", [8, 10, 13, 14, 20, 60])
def test_ties_and_zeros_are_ranked_as_by_scipy(n: int) -> None:
    draw = np.random.default_rng(n)
    few = draw.integers(-5, 9, n) / 100
    # Of thirteen scipy goes through all signs, which takes seconds.
    for values in (few,) if n == 13 else (few, draw.integers(-1, 2, n) / 8):
        expected = stats.wilcoxon(values).pvalue
        assert wilcoxon_p_value(values.tolist()) == pytest.approx(expected, abs=1e-9)


@SIZES
def test_the_bootstrap_is_scipys_with_a_fixed_generator(n: int) -> None:
    expected = stats.bootstrap(
        (gaps(n),), np.mean, n_resamples=9999, confidence_level=0.95, method="BCa", rng=0
    ).confidence_interval
    assert bootstrap_interval(gaps(n)) == pytest.approx(tuple(expected), abs=1e-9)
    assert bootstrap_interval(gaps(n)) == bootstrap_interval(gaps(n))


@SIZES
def test_equivalence_is_statsmodels_two_one_sided_tests(n: int) -> None:
    one, other = arms(n)
    for margin in (0.001, 0.01, 0.03):
        expected = ttost_paired(np.array(other), np.array(one), -margin, margin)[0]
        assert equivalence_p_value(gaps(n), margin) == pytest.approx(expected, abs=1e-9)


@SIZES
def test_resampled_splits_widen_the_standard_error_alone(n: int) -> None:
    """Nadeau & Bengio's corrected resampled t, written out."""
    overlap, margin, values = 0.25, 0.02, gaps(n)
    error = np.std(values, ddof=1) * np.sqrt(1 / n + overlap)
    centre = np.mean(values)
    interval = stats.t.interval(0.95, n - 1, centre, error)
    outer = stats.t.cdf((abs(centre) - margin) / error, n - 1)
    p_value = 2 * stats.t.sf(abs(centre) / error, n - 1)
    assert t_interval(values, overlap=overlap) == pytest.approx(interval, abs=1e-9)
    assert paired_p_value(values, overlap=overlap) == pytest.approx(p_value, abs=1e-9)
    assert equivalence_p_value(values, margin, overlap=overlap) == pytest.approx(outer, abs=1e-9)


def test_centre_spread_and_size_of_an_effect() -> None:
    values = gaps(10)
    assert interquartile_mean(values) == pytest.approx(stats.trim_mean(values, 0.25), abs=1e-9)
    assert interquartile_mean([9.0, 1.0, 2.0, 3.0, 0.0]) == 2.0
    assert mean(values) == pytest.approx(np.mean(values), abs=1e-9)
    assert deviation(values) == pytest.approx(np.std(values, ddof=1), abs=1e-9)
    expected = np.mean(values) / np.std(values, ddof=1)
    assert effect_size(values) == pytest.approx(expected, abs=1e-9)


def test_the_slope_is_that_of_least_squares() -> None:
    xs, ys = arms(9)
    assert slope(xs, ys) == pytest.approx(stats.linregress(xs, ys).slope, abs=1e-9)
    with pytest.raises(statistics.StatisticsError):
        slope([1.0, 1.0], [0.1, 0.2])


def test_improvement_is_counted_in_pairs_and_ties_count_half() -> None:
    pairs = [(0.9, 0.8), (0.8, 0.9), (0.7, 0.6), (0.5, 0.5), (0.1 + 0.2, 0.3)]
    assert probability_of_improvement(pairs, higher_is_better=True) == pytest.approx(0.6)
    assert probability_of_improvement(pairs, higher_is_better=False) == pytest.approx(0.4)
    assert probability_of_improvement([], higher_is_better=True) is None


def test_under_eight_differences_there_is_no_p_value() -> None:
    for n in (0, 1, 7):
        assert paired_p_value(gaps(n)) is None
        assert wilcoxon_p_value(gaps(n)) is None
        assert equivalence_p_value(gaps(n), 0.1) is None


def test_one_value_has_neither_interval_nor_spread_and_none_has_no_mean() -> None:
    for found in (t_interval, bootstrap_interval, effect_size, deviation):
        assert found([0.9]) is None
        assert found([]) is None
    assert mean([]) is None


def test_differences_that_are_all_zero_say_nothing_against_no_difference() -> None:
    assert paired_p_value(NOTHING) == wilcoxon_p_value(NOTHING) == 1.0
    assert effect_size(NOTHING) is None


@pytest.mark.parametrize("overlap", [0.0, 0.25])
def test_differences_that_are_all_equal_are_decided_by_the_sign_flip_test(overlap: float) -> None:
    flips = stats.permutation_test(
        (np.array(SAME),), np.mean, permutation_type="samples", n_resamples=np.inf
    )
    assert paired_p_value(SAME, overlap=overlap) == flips.pvalue == 2 / 2**8
    assert paired_p_value([-1e-5] * 10, overlap=overlap) == 2 / 2**10
    assert paired_p_value([0.90001 - 0.9, 0.80001 - 0.8] * 4, overlap=overlap) == 2 / 2**8


def test_equal_differences_have_a_point_for_an_interval_and_no_size_of_effect() -> None:
    assert t_interval(SAME) == pytest.approx((0.1, 0.1))
    assert bootstrap_interval(SAME) == pytest.approx((0.1, 0.1))
    assert (deviation(SAME), effect_size(SAME)) == (0.0, None)


def test_equal_differences_are_equivalent_only_within_the_margin() -> None:
    assert equivalence_p_value(SAME, 0.2) == 2 / 2**8
    assert equivalence_p_value(NOTHING, 0.01) == 2 / 2**8
    assert equivalence_p_value(SAME, 0.1) == 1.0
    assert equivalence_p_value([0.12 - 0.11] * 8, 0.01) == 1.0
    assert equivalence_p_value([-0.3] * 8, 0.2) == 1.0


def test_ranks_see_ties_that_rounding_hides() -> None:
    exact = [0.1, 0.1, -0.1, 0.2, 0.3, 0.0, 0.2, 0.1]
    hidden = [0.3 - 0.2, 0.2 - 0.1, 0.8 - 0.9, 0.3 - 0.1, 0.3, 0.1 + 0.2 - 0.3, 0.2, 0.4 - 0.3]
    assert wilcoxon_p_value(hidden) == wilcoxon_p_value(exact) == stats.wilcoxon(exact).pvalue


@pytest.mark.parametrize("p_values", [[], [0.03], [0.01, 0.04, 0.03], [0.2, 0.2, 0.001, 1.0, 0.0]])
def test_holm_is_statsmodels(p_values: list[float]) -> None:
    expected = multipletests(p_values, method="holm")[1] if p_values else []
    assert holm(p_values) == pytest.approx(list(expected), abs=1e-9)


def test_holm_as_written_by_hand() -> None:
    assert holm([0.01, 0.04, 0.03]) == pytest.approx([0.03, 0.06, 0.06])


@pytest.mark.parametrize("effect", [0.2, 0.5, 0.8, 1.0, 1.5, 2.0, 3.0])
@pytest.mark.parametrize("level", [LEVEL, LEVEL / 3])
def test_seeds_needed_are_statsmodels_rounded_up(effect: float, level: float) -> None:
    solved = TTestPower().solve_power(effect, alpha=level, power=POWER)
    for sign in (1, -1):
        assert seeds_needed(sign * effect * 0.02, 0.02, level=level) == int(np.ceil(solved))


def test_where_no_number_of_seeds_is_enough_there_is_none() -> None:
    assert seeds_needed(0.0, 0.02) is None
    assert seeds_needed(0.0001, 0.02) is None
    assert seeds_needed(0.02, 0.02, overlap=0.25) is None


def test_with_resampled_splits_more_seeds_are_needed() -> None:
    needed = seeds_needed(0.02, 0.02, overlap=0.1)
    assert needed is not None
    power = [noncentral_power(n, 1 / np.sqrt(1 / n + 0.1)) for n in (needed - 1, needed)]
    assert power[0] < POWER <= power[1]
    assert needed > (seeds_needed(0.02, 0.02) or 0)


def test_without_deviation_the_sign_flip_test_must_be_able_to_reject() -> None:
    assert seeds_needed(0.01, 0.0) == 6
    assert 2 / 2**6 < LEVEL < 2 / 2**5
    assert seeds_needed(0.01, 0.0, level=0.25) == 3


def noncentral_power(n: int, shift: float) -> float:
    bound = stats.t.isf(LEVEL / 2, n - 1)
    return float(stats.nct.sf(bound, n - 1, shift) + stats.nct.cdf(-bound, n - 1, shift))


@properties
@given(differences)
def test_the_tests_do_not_care_which_arm_is_called_the_baseline(values: list[float]) -> None:
    turned = [-one for one in values]
    for test in (paired_p_value, wilcoxon_p_value):
        p_value = test(values)
        assert p_value is not None
        assert 0 <= p_value <= 1
        assert test(turned) == pytest.approx(p_value, abs=1e-12)
    assert equivalence_p_value(turned, 0.1) == pytest.approx(equivalence_p_value(values, 0.1))


@properties
@given(differences)
def test_the_interval_leaves_zero_out_where_the_test_rejects(values: list[float]) -> None:
    interval, p_value = t_interval(values), paired_p_value(values)
    assert interval is not None
    assert p_value is not None
    if abs(p_value - LEVEL) > 1e-9:
        assert (interval[0] <= 0 <= interval[1]) == (p_value > LEVEL)


@properties
@given(differences, st.floats(0.01, 1))
def test_overlap_never_makes_a_difference_surer(values: list[float], overlap: float) -> None:
    plain, corrected = paired_p_value(values), paired_p_value(values, overlap=overlap)
    assert plain is not None
    assert corrected is not None
    assert corrected >= plain


@settings(deadline=None, max_examples=100)
@given(st.lists(numbers | st.floats(-1e6, 1e6), min_size=2, max_size=20))
def test_the_bootstrap_interval_lies_within_the_data(values: list[float]) -> None:
    interval = bootstrap_interval(values)
    assert interval is not None
    slack = 1e-9 * max(1.0, *map(abs, values))
    assert min(values) - slack <= interval[0] <= interval[1] + slack <= max(values) + 2 * slack


@settings(deadline=None, max_examples=30)
@given(chances)
def test_holm_keeps_the_order_and_only_raises(p_values: list[float]) -> None:
    adjusted = holm(p_values)
    assert all(p <= after <= 1 for p, after in zip(p_values, adjusted, strict=True))
    ordered = [after for _, after in sorted(zip(p_values, adjusted, strict=True))]
    assert ordered == sorted(adjusted)
    assert holm(p_values[::-1]) == adjusted[::-1]


def test_a_process_that_compares_nothing_loads_no_statistics_library() -> None:
    code = (
        "import sys, studies.stats.group_sequential, studies.stats.inference; print(*sys.modules)"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert not {"scipy", "statsmodels", "pandas", "torch"} & set(run.stdout.split())


@pytest.mark.parametrize("n", [2, 3, 4, 7, 10, 150, 151])
def test_deviations_and_trimmed_means_are_the_libraries_to_the_last_digit(n: int) -> None:
    random = Random(n)
    samples = [
        [random.random() for _ in range(n)],
        [random.gauss(0, 1) * 10.0 ** random.randint(-290, 150) for _ in range(n)],
        [0.9 + random.random() * 1e-15 for _ in range(n)],
        [random.choice((0.1, 0.2, 0.3)) for _ in range(n)],
        [random.randint(0, 99) * 5e-324 for _ in range(n)],
    ]
    for values in samples:
        assert _sample_deviation(values) == statistics.stdev(values)
        assert interquartile_mean(values) == float(stats.trim_mean(values, 0.25))
