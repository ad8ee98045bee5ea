"""The comparison against scipy and statsmodels, and what is said when not all is well."""

import math
from dataclasses import replace

import numpy as np
import pytest
from scipy import stats
from statsmodels.stats.multitest import multipletests

from store.results.result_rows import ResultRow
from studies.comparison.schemas import Comparison, VariantSummary
from studies.spec.study import StudySpec
from tests.support.result_rows import alter, change, compare_rows, fake_rows, make_row, make_study

STUDY = make_study()
THREE = make_study(("none", "batch", "layer", "group"))


def rows(none: list[float], group: list[float]) -> list[ResultRow]:
    values = [("none", seed, v) for seed, v in enumerate(none)]
    values += [("group", seed, v) for seed, v in enumerate(group)]
    return [make_row(number, *value) for number, value in enumerate(values)]


def two_arms(seed: int = 0, n: int = 10) -> tuple[list[float], list[float]]:
    draw = np.random.default_rng(seed)
    return draw.normal(0.9, 0.02, n).tolist(), draw.normal(0.92, 0.02, n).tolist()


def summary(compared: Comparison, name: str = "group") -> VariantSummary:
    return next(one for one in compared.variants if one.name == name)


def test_means_and_intervals_agree_with_scipy() -> None:
    none, group = two_arms()
    compared = compare_rows(STUDY, rows(none, group))
    for found, values in zip(compared.variants, (none, group), strict=True):
        interval = stats.t.interval(0.95, 9, np.mean(values), stats.sem(values))
        assert (found.n, found.epochs.mean, found.epochs.best_mean) == (10, 10.0, 7.0)
        assert found.epochs.best_seconds == 3.5
        assert found.mean == pytest.approx(np.mean(values), abs=1e-12)
        assert found.std == pytest.approx(np.std(values, ddof=1), abs=1e-12)
        assert found.median == pytest.approx(np.median(values), abs=1e-12)
        assert found.interquartile_mean == pytest.approx(stats.trim_mean(values, 0.25), abs=1e-12)
        assert found.interval == pytest.approx(interval, abs=1e-12)
        assert (found.best, found.worst) == (max(values), min(values))


def test_differences_agree_with_scipy_and_statsmodels() -> None:
    found = fake_rows(THREE, lambda variant, _: 0.9 + 0.01 * (variant == "layer"), seed=3)
    compared = compare_rows(THREE, found)
    by_arm = {
        name: [row.metrics["test_accuracy"] for row in found if row.variant == name]
        for name in THREE.variants
    }
    tests = {n: stats.ttest_rel(by_arm[n], by_arm["none"]) for n in ("batch", "layer", "group")}
    adjusted = multipletests([test.pvalue for test in tests.values()], method="holm")[1]
    assert summary(compared, "none").difference is None
    for (name, test), p_adjusted in zip(tests.items(), adjusted, strict=True):
        one = summary(compared, name).difference
        assert one is not None
        gaps = np.subtract(by_arm[name], by_arm["none"])
        assert one.mean == pytest.approx(gaps.mean(), abs=1e-12)
        assert one.interval == pytest.approx(tuple(test.confidence_interval()), abs=1e-12)
        assert one.p_value == pytest.approx(test.pvalue, abs=1e-12)
        assert one.p_adjusted == pytest.approx(p_adjusted, abs=1e-12)
        assert one.wilcoxon_p_value == pytest.approx(stats.wilcoxon(gaps).pvalue, abs=1e-12)
        assert one.effect_size == pytest.approx(gaps.mean() / gaps.std(ddof=1), abs=1e-9)
        assert one.probability_of_improvement == np.mean(gaps > 0)
        assert one.bootstrap_interval is not None
        assert one.bootstrap_interval[0] < gaps.mean() < one.bootstrap_interval[1]


def test_pairing_is_by_seed_not_by_order() -> None:
    none, group = two_arms()
    backwards = reversed(rows(none, group))
    shuffled = [replace(row, job_id=number) for number, row in enumerate(backwards)]
    straight = summary(compare_rows(STUDY, rows(none, group))).difference
    assert summary(compare_rows(STUDY, shuffled)).difference == straight


def test_under_eight_seeds_there_is_an_interval_but_no_p_value() -> None:
    study = make_study(seeds=7)
    one = summary(compare_rows(study, rows(*two_arms(n=7)))).difference
    assert one is not None
    assert one.interval is not None
    assert (one.p_value, one.p_adjusted, one.decision) == (None, None, None)


def test_one_seed_has_no_interval_and_no_deviation() -> None:
    found = compare_rows(make_study(seeds=1), [make_row(1, "none", 0, 0.9)]).variants[0]
    assert (found.n, found.mean, found.std, found.interval) == (1, 0.9, None, None)


def test_a_diverged_job_counts_with_its_best_checkpoint() -> None:
    found = rows(*two_arms())
    alter(found, [found[3]], reason="diverged")
    change(found[3], "metrics", test_accuracy=0.2)
    compared = compare_rows(STUDY, found)
    none = summary(compared, "none")
    assert (none.n, none.diverged, none.incomplete) == (10, 1, False)
    assert (none.values[3].value, none.values[3].at_chance) == (0.2, False)
    assert (
        "none: 1 job diverged and counts: 1 with their best checkpoint on validation"
        in compared.notes
    )


@pytest.mark.parametrize(("metric", "chance"), [("test_accuracy", 0.1), ("test_loss", 2.3)])
def test_a_diverged_job_without_a_checkpoint_counts_with_what_guessing_scores(
    metric: str, chance: float
) -> None:
    found = rows(*two_arms())
    for row in found:
        change(row, "metrics", test_loss=0.3)
    alter(found, [found[3]], reason="diverged", metrics={"test_accuracy": None, "test_loss": None})
    value = summary(compare_rows(STUDY, found, metric), "none").values[3]
    assert (value.value, value.at_chance) == (chance, True)


def test_where_guessing_has_no_score_a_diverged_job_withholds_the_verdict() -> None:
    found = rows(*two_arms())
    alter(found, [found[3]], reason="diverged", metrics={"test_accuracy": None}, facts=None)
    compared = compare_rows(STUDY, found)
    assert compared.verdict.state == "withheld"
    assert "none: 1 succeeded without a finite value (j3)" in compared.verdict.reasons


def test_the_sensitivity_line_is_the_result_without_the_seeds_that_went_wrong() -> None:
    none, group = two_arms()
    found = rows(none, group)
    alter(found, [found[13]], reason="diverged")
    change(found[13], "metrics", test_accuracy=0.1)
    one = summary(compare_rows(STUDY, found)).difference
    assert one is not None
    assert one.sensitivity is not None
    assert (one.n, one.sensitivity.n, one.sensitivity.left_out) == (10, 9, (3,))
    kept = [b - a for seed, (a, b) in enumerate(zip(none, group, strict=True)) if seed != 3]
    assert one.sensitivity.mean == pytest.approx(np.mean(kept))
    assert one.mean == pytest.approx((sum(kept) + 0.1 - none[3]) / 10)
    clean = summary(compare_rows(STUDY, rows(none, group))).difference
    assert clean is not None
    assert clean.sensitivity is None


def test_what_has_no_value_is_counted_never_dropped() -> None:
    found = rows(*two_arms())
    alter(found, [found[0]], status="failed", reason="oom", metrics={})
    alter(found, [found[1]], status="cancelled", reason="cancelled", metrics={})
    alter(found, [found[4]], status="running", reason=None, metrics={})
    compared = compare_rows(STUDY, found)
    none, group = compared.variants
    assert (none.n, none.failed, none.cancelled, none.pending) == (7, 1, 1, 1)
    assert none.incomplete
    assert not group.incomplete
    assert group.difference is not None
    assert group.difference.n == 7
    assert len([text for text in compared.notes if text.startswith("none")]) == 2


def test_variants_are_compared_at_the_same_matrix_point() -> None:
    study = make_study(matrix={"training.batch_size": [64, 8]}, seeds=3)
    found = []
    for size, gap in ((64, 0.01), (8, 0.05)):
        for seed in range(3):
            for variant, value in (("none", 0.9), ("group", 0.9 + gap)):
                point = {"training.batch_size": size}
                value += 0.01 * seed
                found.append(make_row(len(found), variant, seed, value, point=point))
    compared = compare_rows(study, found)
    means = {one.name: one.difference.mean for one in compared.variants if one.difference}
    assert means == pytest.approx({"group · batch_size=64": 0.01, "group · batch_size=8": 0.05})


def test_an_arm_at_a_point_without_the_baseline_is_no_comparison() -> None:
    found = rows(*two_arms())
    found += [make_row(50 + seed, "group", seed, 0.99, point={"x": 1}) for seed in range(10)]
    compared = compare_rows(STUDY, found)
    assert compared.plan.comparisons == 1
    assert summary(compared, "group · x=1").difference is None


def test_a_loss_is_better_when_lower() -> None:
    found = rows([0.3] * 10, [0.2] * 10)
    for row in found:
        change(row, "metrics", test_loss=row.metrics["test_accuracy"])
        change(row, "metrics", best_val_loss=row.metrics["test_accuracy"])
    compared = compare_rows(STUDY, found, metric="test_loss")
    group = summary(compared)
    assert not compared.higher_is_better
    assert (group.best, group.worst) == (0.2, 0.2)
    assert group.difference is not None
    assert group.difference.decision == "better"
    assert group.difference.probability_of_improvement == 1.0
    assert compared.best is not None
    assert (compared.best.name, compared.best.metric) == ("group", "best_val_loss")


def test_steps_to_a_threshold_count_those_that_reached_it() -> None:
    study = make_study(threshold={"metric": "val_accuracy", "value": 0.9})
    found = rows(*two_arms())
    none, group = compare_rows(study, found, first_steps={10: 100, 11: 300}).variants
    assert none.to_threshold is not None
    assert (none.to_threshold.reached, none.to_threshold.steps) == (0, None)
    assert group.to_threshold is not None
    assert (group.to_threshold.reached, group.to_threshold.steps) == (2, 200.0)
    assert compare_rows(STUDY, found).variants[0].to_threshold is None


def corrected(study: StudySpec, metric: str = "test_accuracy") -> float:
    """The interval's width over that of plain Student's t."""
    one = summary(compare_rows(study, rows(*two_arms()), metric)).difference
    plain = summary(compare_rows(STUDY, rows(*two_arms()), metric)).difference
    assert one is not None
    assert plain is not None
    assert one.interval is not None
    assert plain.interval is not None
    return (one.interval[1] - one.interval[0]) / (plain.interval[1] - plain.interval[0])


def test_resampled_splits_widen_intervals_by_the_overlap() -> None:
    study = make_study(splits="resampled")
    # Test is a quarter of train in these rows, so is validation.
    assert corrected(study) == pytest.approx(math.sqrt((1 / 10 + 200 / 800) / (1 / 10)))
    assert corrected(study, "best_val_accuracy") == corrected(study)
    assert corrected(STUDY) == 1.0


def test_the_answer_survives_json_without_nan() -> None:
    found = rows(*two_arms())
    alter(found, [found[2]], metrics={"test_accuracy": math.nan})
    compared = compare_rows(STUDY, found)
    assert Comparison.model_validate_json(compared.model_dump_json()) == compared
