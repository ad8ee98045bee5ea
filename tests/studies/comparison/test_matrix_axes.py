"""A study along its matrix: tables, slopes and interactions."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest
from scipy import stats

from store.results.result_rows import ResultRow
from studies.comparison.schemas import Axis, Slope
from studies.spec.study import StudySpec
from tests.support.result_rows import BASE, alter, compare_rows, fake_rows, make_study

SIZES = [32, 8, 2]


def batch_sizes(**fields: Any) -> StudySpec:
    return make_study(("group", "batch"), matrix={"training.batch_size": SIZES}, **fields)


def falls_for_batch(variant: str, point: Mapping[str, Any]) -> float:
    """Batch norm loses two points with each halving of the batch."""
    return 0.9 + 0.02 * np.log2(point["training.batch_size"]) * (variant == "batch")


def axis_of(study: StudySpec, rows: list[ResultRow]) -> Axis:
    [axis] = compare_rows(study, rows).axes
    return axis


def slope_of(axis: Axis, variant: str) -> Slope:
    return next(one for one in axis.slopes if one.variant == variant)


def test_the_table_has_the_mean_of_each_variant_at_each_value() -> None:
    study = batch_sizes()
    rows = fake_rows(study, falls_for_batch, seed=1)
    axis = axis_of(study, rows)
    assert (axis.path, axis.values) == ("training.batch_size", (32, 8, 2))
    for variant, means in axis.table.items():
        for size, mean in zip(SIZES, means, strict=True):
            values = [
                row.metrics["test_accuracy"]
                for row in rows
                if (row.variant, row.point["training.batch_size"]) == (variant, size)
            ]
            assert mean == pytest.approx(np.mean(values), abs=1e-12)


def test_slopes_and_interactions_agree_with_scipy() -> None:
    study = batch_sizes()
    rows = fake_rows(study, falls_for_batch, seed=1)
    axis = axis_of(study, rows)
    assert axis.scale == "per doubling"
    slopes: dict[str, list[float]] = {"group": [], "batch": []}
    for variant in slopes:
        for seed in range(10):
            found = {
                row.point["training.batch_size"]: row.metrics["test_accuracy"]
                for row in rows
                if (row.variant, row.seed) == (variant, seed)
            }
            xs, ys = np.log2(list(found)), list(found.values())
            slopes[variant].append(stats.linregress(xs, ys).slope)
    for variant, expected in slopes.items():
        one = slope_of(axis, variant)
        assert one.mean == pytest.approx(np.mean(expected), abs=1e-12)
        interval = stats.t.interval(0.95, 9, np.mean(expected), stats.sem(expected))
        assert one.interval == pytest.approx(interval, abs=1e-12)
    interaction = slope_of(axis, "batch").difference
    assert interaction is not None
    test = stats.ttest_rel(slopes["batch"], slopes["group"])
    assert interaction.p_value == pytest.approx(test.pvalue, rel=1e-9)
    assert interaction.mean == pytest.approx(0.02, abs=0.005)
    assert slope_of(axis, "group").difference is None


def test_interactions_are_corrected_for_their_number() -> None:
    study = make_study(("none", "batch", "layer"), matrix={"training.batch_size": SIZES})
    axis = axis_of(study, fake_rows(study, falls_for_batch, seed=1))
    found = [one.difference for one in axis.slopes if one.difference is not None]
    assert len(found) == 2
    for one in found:
        assert one.p_adjusted is not None
        assert one.p_value is not None
        assert one.p_adjusted >= one.p_value
    smallest = min(found, key=lambda one: one.p_value or 1.0)
    assert smallest.p_adjusted == pytest.approx(2 * (smallest.p_value or 1.0))


def test_values_close_together_are_measured_by_the_unit() -> None:
    study = make_study(matrix={"training.epochs": [10, 20]})
    rows = fake_rows(
        study, lambda _, point: 0.8 + 0.001 * point["training.epochs"], seed=1, own=0.0
    )
    axis = axis_of(study, rows)
    assert axis.scale == "per unit"
    assert slope_of(axis, "group").mean == pytest.approx(0.001)


def test_values_that_are_no_numbers_have_a_table_and_no_slopes() -> None:
    study = make_study(matrix={"model.activation": ["relu", "sigmoid"]})
    axis = axis_of(study, fake_rows(study, lambda *_: 0.9, seed=1))
    assert (axis.scale, axis.slopes) == (None, ())
    assert all(mean is not None for means in axis.table.values() for mean in means)


def test_an_axis_is_looked_at_over_the_values_of_the_others() -> None:
    matrix = {"training.batch_size": SIZES, "training.epochs": [5, 50]}
    study = make_study(("group", "batch"), matrix=matrix)
    rows = fake_rows(
        study, lambda _, point: 0.5 + 0.002 * point["training.epochs"], seed=1, own=0.0
    )
    sizes, epochs = compare_rows(study, rows).axes
    assert slope_of(sizes, "batch").mean == pytest.approx(0.0, abs=1e-12)
    assert slope_of(epochs, "batch").mean == pytest.approx(0.09 / np.log2(10))


def test_a_seed_with_a_hole_in_its_curve_has_no_slope() -> None:
    study = batch_sizes()
    rows = fake_rows(study, falls_for_batch, seed=1)
    alter(rows, [rows[0]], status="failed", reason="oom", metrics={})
    axis = axis_of(study, rows)
    assert (slope_of(axis, "group").n, slope_of(axis, "batch").n) == (9, 10)
    interaction = slope_of(axis, "batch").difference
    assert interaction is not None
    assert interaction.n == 9


def test_means_over_other_points_are_not_compared() -> None:
    """Only the learning rate matters here; a variant that lacks one cell must not seem to slope."""
    matrix = {"training.batch_size": SIZES, "optimizer.lr": [0.01, 0.1]}
    lacking = [{"variant": "batch", "training.batch_size": 2, "optimizer.lr": 0.1}]
    base = {**BASE, "optimizer": {"kind": "sgd"}}
    study = make_study(("group", "batch"), base=base, matrix=matrix, exclude=lacking)
    rows = fake_rows(
        study, lambda _, point: 0.8 + point["optimizer.lr"], seed=1, shared=0.01, own=0.0001
    )
    sizes, _ = compare_rows(study, rows).axes
    assert slope_of(sizes, "batch").mean == pytest.approx(0.0, abs=1e-3)
    interaction = slope_of(sizes, "batch").difference
    assert interaction is not None
    assert interaction.mean == pytest.approx(0.0, abs=1e-3)


def test_slopes_allow_for_the_overlap_of_resampled_splits() -> None:
    fixed, resampled = batch_sizes(), batch_sizes(splits="resampled")
    rows = fake_rows(fixed, falls_for_batch, seed=1)
    widths = []
    for study in (fixed, resampled):
        interval = slope_of(axis_of(study, rows), "batch").interval
        assert interval is not None
        widths.append(interval[1] - interval[0])
    assert widths[1] / widths[0] == pytest.approx(np.sqrt((1 / 10 + 200 / 800) / (1 / 10)))
