"""A comparison says that trainings had not come to rest, by a rule that is stated; and says nothing else."""

import csv
import io
from typing import Any

import pytest

from normlab.cli.render.comparison import columns, legend
from studies.comparison.schemas import Comparison
from studies.comparison.verdict import FEWEST_EVALUATIONS, is_still_improving
from studies.report.tables import to_csv, variants_table
from tests.support.result_rows import change, compare_rows, fake_rows, make_row, make_study

STUDY = make_study(("none", "group"))


def compared(**best_epochs: float) -> Comparison:
    """Of two variants with ten jobs each, whose best epochs of ten are these."""
    rows = fake_rows(STUDY, lambda variant, _: 0.8 if variant == "none" else 0.9, seed=0)
    for row in rows:
        change(row, "metrics", best_epoch=best_epochs[row.variant])
    return compare_rows(STUDY, rows)


def convergence(comparison: Comparison) -> list[str]:
    return [note for note in comparison.notes if "not converged" in note]


@pytest.mark.parametrize(
    ("evaluations", "best", "is_improving"),
    [(10, 10, True), (10, 9, False), (15, 14, True), (15, 13, False), (40, 37, True), (40, 36, False),
     (11, 10, True), (11, 9, False), (10, None, False)],
)  # fmt: skip
def test_the_best_of_a_job_that_still_improves_is_in_the_last_tenth(
    evaluations: int, best: int | None, is_improving: bool
) -> None:
    metrics = {"epochs": float(evaluations), "best_epoch": best}
    assert is_still_improving(make_row(1, "none", 0, 0.9, metrics=metrics)) is is_improving


@pytest.mark.parametrize("evaluations", [1, 3, 5, 9])
def test_of_fewer_than_ten_evaluations_nothing_is_said(evaluations: int) -> None:
    metrics = {"epochs": float(evaluations), "best_epoch": float(evaluations)}
    assert not is_still_improving(make_row(1, "none", 0, 0.9, metrics=metrics))


@pytest.mark.parametrize("evaluations", [FEWEST_EVALUATIONS, 11, 19, 20, 21, 100])
def test_a_best_at_random_is_rarely_taken_for_improvement(evaluations: int) -> None:
    late = 0
    for best in range(1, evaluations + 1):
        metrics = {"epochs": float(evaluations), "best_epoch": float(best)}
        late += is_still_improving(make_row(1, "none", 0, 0.9, metrics=metrics))
    assert 0.1 <= late / evaluations <= 2 / 11


@pytest.mark.parametrize(
    "fate",
    [
        {"reason": "early_stopped"},
        {"reason": "diverged"},
        {"status": "failed", "reason": "error"},
        {"status": "running", "reason": None},
    ],
    ids=str,
)
def test_a_job_that_did_not_end_at_its_limit_does_not_count(fate: dict[str, Any]) -> None:
    metrics = {"epochs": 10.0, "best_epoch": 10.0}
    assert not is_still_improving(make_row(1, "none", 0, 0.9, metrics=metrics, **fate))


def test_a_comparison_of_trainings_that_were_too_short_says_so() -> None:
    found = compared(none=10.0, group=10.0)
    [note] = convergence(found)
    assert note.startswith("not converged: 20 of 20 jobs ended at the limit of epochs or steps")
    assert "none 10 of 10 and group 10 of 10" in note
    assert [one.still_improving for one in found.variants] == [10, 10]


def test_one_variant_that_would_go_on_is_named() -> None:
    [note] = convergence(compared(none=10.0, group=5.0))
    assert note.startswith("not converged in some variants: 10 of 20 jobs")
    assert "(none 10 of 10)" in note


def test_trainings_that_came_to_rest_are_no_reason_to_warn() -> None:
    assert convergence(compared(none=5.0, group=9.0)) == []


def test_a_few_jobs_with_a_late_best_are_no_reason_to_warn() -> None:
    rows = fake_rows(STUDY, lambda *_: 0.8, seed=0)
    for row in rows:
        change(row, "metrics", best_epoch=10.0 if row.seed % 2 else 7.0)
    found = compare_rows(STUDY, rows)
    assert [one.still_improving for one in found.variants] == [5, 5]
    assert convergence(found) == []


def test_tables_count_them_where_there_are_any() -> None:
    short, long = compared(none=10.0, group=10.0), compared(none=5.0, group=5.0)
    assert "still improving" in variants_table(short).header
    assert "still improving" not in variants_table(long).header
    shown = short.model_dump(mode="json")
    assert "still improving" in [one.title for one in columns(shown)]
    first, *_ = csv.DictReader(io.StringIO(to_csv(short)))
    assert first["still_improving"] == "10"
    assert any(line.startswith("Note: not converged") for line in legend(shown))
    assert "still improving" not in [one.title for one in columns(long.model_dump(mode="json"))]
