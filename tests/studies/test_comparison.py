"""The comparison against scipy, and what is said when not all is well."""

import math
from typing import Any

import numpy as np
import pytest
from scipy import stats

from studies.comparison import Comparison, compare, paired_p_value, t_interval
from studies.spec import read_study

STUDY = read_study(
    {"name": "s", "variants": {"none": {}, "group": {}}, "baseline": "none", "seeds": 10}
)


def row(number: int, variant: str, seed: int, value: float | None, **change: Any) -> dict[str, Any]:
    return {
        "job_id": number,
        "variant": variant,
        "point": {},
        "seed": seed,
        "status": "succeeded",
        "reason": "completed",
        "metrics": {"test_accuracy": value, "epochs": 10.0, "best_epoch": 7.0},
        **change,
    }


def rows(none: list[float], group: list[float]) -> list[dict[str, Any]]:
    values = [("none", seed, v) for seed, v in enumerate(none)]
    values += [("group", seed, v) for seed, v in enumerate(group)]
    return [row(number, *value) for number, value in enumerate(values)]


def two_arms(seed: int = 0, n: int = 10) -> tuple[list[float], list[float]]:
    draw = np.random.default_rng(seed)
    return draw.normal(0.9, 0.02, n).tolist(), draw.normal(0.92, 0.02, n).tolist()


def test_means_intervals_and_differences_agree_with_scipy() -> None:
    none, group = two_arms()
    compared = compare(STUDY, rows(none, group))
    for summary, values in zip(compared.variants, (none, group), strict=True):
        interval = stats.t.interval(0.95, 9, np.mean(values), stats.sem(values))
        assert (summary.n, summary.epochs.mean, summary.epochs.best_mean) == (10, 10.0, 7.0)
        assert summary.mean == pytest.approx(np.mean(values), abs=1e-12)
        assert summary.std == pytest.approx(np.std(values, ddof=1), abs=1e-12)
        assert summary.interval == pytest.approx(interval, abs=1e-12)
    test = stats.ttest_rel(group, none)
    difference = compared.variants[1].difference
    assert compared.variants[0].difference is None
    assert difference is not None
    assert difference.interval == pytest.approx(tuple(test.confidence_interval()), abs=1e-12)
    assert difference.p_value == pytest.approx(test.pvalue, abs=1e-12)


def test_pairing_is_by_seed_not_by_order() -> None:
    none, group = two_arms()
    shuffled = rows(none, group)
    for number, one in enumerate(reversed(shuffled)):
        one["job_id"] = number
    by_name = {one.variant: one.difference for one in compare(STUDY, shuffled).variants}
    assert by_name["group"] == compare(STUDY, rows(none, group)).variants[1].difference


def test_under_eight_seeds_there_is_no_p_value() -> None:
    assert paired_p_value([0.1, 0.2, 0.1, 0.3, 0.2, 0.1, 0.15]) is None
    assert paired_p_value([0.1, 0.2, 0.1, 0.3, 0.2, 0.1, 0.15, 0.1]) is not None


def test_one_seed_has_no_interval_and_no_deviation() -> None:
    assert t_interval([0.9]) is None
    (summary,) = compare(STUDY, [row(1, "none", 0, 0.9)]).variants
    assert (summary.n, summary.mean, summary.std, summary.interval) == (1, 0.9, None, None)


@pytest.mark.parametrize(
    ("values", "p"), [([0.0] * 8, 1.0), ([0.1] * 8, None), ([0.3 - 0.2, 0.2 - 0.1] * 4, None)]
)
def test_equal_differences_leave_nothing_to_test_with(values: list[float], p: float | None) -> None:
    assert paired_p_value(values) == p


def note(compared: Comparison, start: str) -> str:
    return next(text for text in compared.notes if text.startswith(start))


def test_a_diverged_job_counts_with_the_metric_it_reached() -> None:
    found = rows(*two_arms())
    found[3].update(reason="diverged", metrics={"test_accuracy": 0.1})
    summary = compare(STUDY, found).variants[0]
    assert (summary.n, summary.diverged, summary.incomplete) == (10, 1, False)
    assert summary.values[3].value == 0.1
    assert "1 diverged" in note(compare(STUDY, found), "none")


def test_only_diverged_jobs_with_a_value_are_said_to_count() -> None:
    found = rows(*two_arms())
    found[3].update(reason="diverged", metrics={"test_accuracy": 0.1})
    found[4].update(reason="diverged", metrics={"test_accuracy": None})
    assert "2 diverged jobs: 1 count with" in note(compare(STUDY, found), "none: 2")


def test_too_few_pairs_are_said_once_all_jobs_have_ended() -> None:
    found = rows(*two_arms())
    for one in found[:3]:
        one.update(status="failed", reason="oom", metrics={})
    compared = compare(STUDY, found)
    assert compared.variants[1].difference is not None
    assert compared.variants[1].difference.p_value is None
    assert "7 seeds have a value here and in the baseline" in note(compared, "group")
    found[0]["status"] = "running"
    assert not [text for text in compare(STUDY, found).notes if text.startswith("group")]


def test_what_has_no_value_is_counted_never_dropped() -> None:
    found = rows(*two_arms())
    found[0].update(status="failed", reason="oom", metrics={})
    found[1].update(status="cancelled", reason="cancelled", metrics={})
    found[2].update(reason="diverged", metrics={"test_accuracy": None})
    found[4].update(status="running", reason=None, metrics={})
    compared = compare(STUDY, found)
    none, group = compared.variants
    assert (none.n, none.failed, none.cancelled, none.diverged, none.pending) == (6, 1, 1, 1, 1)
    assert none.incomplete
    assert not group.incomplete
    assert group.difference is not None
    assert group.difference.n == 6
    assert len([text for text in compared.notes if text.startswith("none")]) == 4


def test_variants_are_compared_at_the_same_matrix_point() -> None:
    found = []
    for size, gap in ((64, 0.01), (8, 0.05)):
        for seed in range(3):
            base = 0.9 + 0.01 * seed
            found += [
                row(len(found), "none", seed, base, point={"training.batch_size": size}),
                row(len(found) + 1, "group", seed, base + gap, point={"training.batch_size": size}),
            ]
    compared = compare(STUDY, found)
    means = {one.name: one.difference.mean for one in compared.variants if one.difference}
    assert means == pytest.approx({"group · batch_size=64": 0.01, "group · batch_size=8": 0.05})


def test_a_loss_is_better_when_lower() -> None:
    found = [row(1, "none", 0, None, metrics={"test_loss": 0.3})]
    compared = compare(STUDY, found, metric="test_loss")
    assert not compared.higher_is_better
    assert compared.variants[0].mean == 0.3
    assert compare(STUDY, found).higher_is_better


def test_the_answer_survives_json_without_nan() -> None:
    found = rows(*two_arms())
    found[2].update(metrics={"test_accuracy": math.nan})
    compared = compare(STUDY, found)
    assert Comparison.model_validate_json(compared.model_dump_json()) == compared
