"""Simulated studies that grow until they are decided."""

import math

import pytest

from bench.sequential import Scenario, design_of, grow, measure, write_row


def test_a_study_grows_by_its_looks_until_every_comparison_is_decided() -> None:
    design = design_of(40)
    assert (design.looks, design.spending) == ((8, 16, 24, 32, 40), "kim_demets")
    large = [5.0 + 0.1 * (seed % 3) for seed in range(40)]
    none = [(-1.0) ** seed for seed in range(40)]
    assert grow(design, [large], [5.0]).seeds == 8
    both = grow(design, [large, none], [5.0, 0.0])
    assert (both.seeds, both.found, both.is_false) == (40, 1.0, False)
    wrong = grow(design, [[-gap for gap in large]], [5.0])
    assert (wrong.is_false, wrong.found) == (True, 0.0)


@pytest.mark.parametrize("noise", ["normal", "heavy-tailed", "skewed"])
def test_large_effects_save_seeds_and_null_ones_take_them_all(noise: str) -> None:
    large = measure(Scenario(noise, (2.0,), studies=300))
    assert large.mean_seeds < 16
    assert large.power > 0.95
    null = measure(Scenario(noise, (0.0,), studies=300))
    assert null.mean_seeds > 36
    # Of 300 studies that err in one of twenty, more than 30 do by chance in one of 10,000.
    assert null.false_claims <= 0.1
    assert math.isnan(null.power)
    assert write_row(null).startswith(f"| 2 | {noise} | 0 | ")
