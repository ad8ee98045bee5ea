"""The statistics beside those of pingouin and autorank, on random accuracies of paired trainings: where they are the
same, and where docs/claims.md says that they differ."""

import warnings

import numpy as np
import pandas as pd
import pingouin
import pytest
from autorank import autorank

from studies.stats.inference import (
    bootstrap_interval,
    effect_size,
    equivalence_p_value,
    holm,
    paired_p_value,
    t_interval,
    wilcoxon_p_value,
)

Arms = tuple[np.ndarray, np.ndarray]

FIXTURES = [(n, seed) for n in (8, 10, 16, 30) for seed in range(3)]


def draw(n: int, seed: int) -> Arms:
    """Accuracies of two arms that share what a seed decides."""
    generator = np.random.default_rng([n, seed])
    shared = generator.normal(0.9, 0.02, n)
    return shared, shared + generator.normal(0.005, 0.01, n)


def gaps(arms: Arms) -> list[float]:
    one, other = arms
    return (other - one).tolist()


def rank(arms: Arms) -> object:
    """autorank's answer; small samples make it warn."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return autorank(pd.DataFrame({"one": arms[0], "other": arms[1]}), alpha=0.05)


@pytest.mark.parametrize(("n", "seed"), FIXTURES)
def test_pingouin_tests_pairs_alike(n: int, seed: int) -> None:
    one, other = draw(n, seed)
    differences = gaps((one, other))
    found = pingouin.ttest(other, one, paired=True).iloc[0]
    assert paired_p_value(differences) == pytest.approx(found["p_val"], abs=1e-12)
    ranks = pingouin.wilcoxon(other, one).iloc[0]
    assert wilcoxon_p_value(differences) == pytest.approx(ranks["p_val"], abs=1e-12)
    for margin in (0.002, 0.01):
        equivalence = pingouin.tost(other, one, bound=margin, paired=True).iloc[0]
        ours = equivalence_p_value(differences, margin)
        assert ours == pytest.approx(equivalence["pval"], abs=1e-12)


@pytest.mark.parametrize(("n", "seed"), FIXTURES)
def test_pingouin_estimates_alike(n: int, seed: int) -> None:
    differences = gaps(draw(n, seed))
    interval = pingouin.compute_bootci(
        np.array(differences), func="mean", method="norm", n_boot=2000, seed=0, decimals=6
    )
    # Bootstrapped there with normal quantiles, which are narrower than Student's by up to a fifth at eight seeds.
    ours = t_interval(differences)
    bca = bootstrap_interval(differences)
    assert ours is not None
    assert bca is not None
    assert ours[0] <= interval[0] <= interval[1] <= ours[1]
    assert bca == pytest.approx(tuple(interval), abs=0.25 * (ours[1] - ours[0]))
    alone = pingouin.ttest(differences, 0).iloc[0]
    assert effect_size(differences) is not None
    assert abs(effect_size(differences) or 0) == pytest.approx(alone["cohen_d"], abs=1e-9)


def test_pingouin_adjusts_alike() -> None:
    generator = np.random.default_rng(0)
    for count in range(1, 9):
        p_values = generator.uniform(0, 0.2, count)
        adjusted = pingouin.multicomp(p_values, method="holm")[1]
        assert holm(p_values.tolist()) == pytest.approx(adjusted.tolist(), abs=1e-12)


def test_accuracies_that_tie_on_paper_do_not_tie_in_pingouin() -> None:
    one = np.array([0.91, 0.89, 0.89, 0.91, 0.93, 0.92, 0.91, 0.91, 0.92, 0.87])
    other = np.array([0.91, 0.88, 0.88, 0.92, 0.94, 0.92, 0.93, 0.93, 0.93, 0.86])
    differences = gaps((one, other))
    on_paper = np.round(differences, 2)
    assert wilcoxon_p_value(differences) == wilcoxon_p_value(on_paper.tolist())
    assert pingouin.wilcoxon(on_paper).iloc[0]["p_val"] == wilcoxon_p_value(differences)
    # The last bits of 0.91 - 0.92 and 0.88 - 0.89 differ.
    assert pingouin.wilcoxon(other, one).iloc[0]["p_val"] == 0.4375
    assert wilcoxon_p_value(differences) == 0.34375


def test_pingouin_rounds_intervals_and_divides_by_another_deviation() -> None:
    differences = gaps(draw(10, 1))
    one, other = draw(10, 1)
    found = pingouin.ttest(other, one, paired=True).iloc[0]
    interval = t_interval(differences)
    assert interval is not None
    assert list(found["CI95"]) == [round(bound, 2) for bound in interval]
    between = np.sqrt((one.var(ddof=1) + other.var(ddof=1)) / 2)
    assert found["cohen_d"] == pytest.approx(abs(np.mean(differences)) / between, abs=1e-9)


@pytest.mark.parametrize(("n", "seed"), FIXTURES)
def test_autorank_tests_two_normal_arms_alike(n: int, seed: int) -> None:
    arms = draw(n, seed)
    found = rank(arms)
    assert found.omnibus == "ttest"
    assert paired_p_value(gaps(arms)) == pytest.approx(found.pvalue, abs=1e-12)


def test_autorank_takes_the_direction_from_data_that_are_not_normal() -> None:
    """One-sided towards the larger median: half of the two-sided p-value, mostly."""
    one, other = draw(16, 3)
    one[0] -= 0.3
    other[0] -= 0.3
    found = rank((one, other))
    assert found.omnibus == "wilcoxon"
    ours = wilcoxon_p_value(gaps((one, other)))
    assert ours is not None
    assert min(found.pvalue, 1 - found.pvalue) == pytest.approx(ours / 2, abs=0.01)
