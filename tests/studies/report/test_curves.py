"""Learning curves: what is in a mean over seeds and what isn't, along epochs or steps, and as a figure."""

from typing import Any

import pytest

from store.results.result_rows import ResultRow
from studies.figures.curves import draw_curves
from studies.figures.mpl import encode
from studies.report.curves import Curves, job_curves, study_curves
from tests.support.result_rows import make_row

Rows = list[dict[str, Any]]


def make_job(number: int, variant: str = "batch", **changes: Any) -> ResultRow:
    return make_row(number, variant, number, None, **changes)


def make_periods(*accuracies: float | None) -> Rows:
    return [
        {
            "epoch": epoch,
            "step": 10 * epoch,
            "val_accuracy": accuracy,
            "val_loss": 1.0 / epoch,
            "train_accuracy": None,
            "train_loss": 0.5 / epoch,
        }
        for epoch, accuracy in enumerate(accuracies, start=1)
    ]


def trace(jobs: list[ResultRow], periods: dict[int, Rows], **options: Any) -> Curves:
    return study_curves("norms (s3)", jobs, periods, baseline="batch", **options)


def test_a_seed_that_stopped_early_keeps_its_last_value() -> None:
    periods = {1: make_periods(0.2, 0.4, 0.6), 2: make_periods(0.4, 0.6)}
    [one] = trace([make_job(1), make_job(2, reason="early_stopped")], periods).series
    assert one.n == 2
    assert [point.mean for point in one.points] == pytest.approx([0.3, 0.5, 0.6])
    assert all(point.low < point.mean < point.high for point in one.points[:2])


def test_while_a_seed_still_trains_the_mean_ends_where_it_is() -> None:
    periods = {1: make_periods(0.2, 0.4, 0.6), 2: make_periods(0.4, 0.6), 3: []}
    jobs = [make_job(1), make_job(2, status="running", reason=None)]
    [one] = trace([*jobs, make_job(3, status="queued", reason=None)], periods).series
    assert [point.x for point in one.points] == [1, 2]
    assert (one.n, one.left_out) == (2, {"queued": 1})


def test_what_diverged_or_failed_is_counted_and_not_in_the_mean() -> None:
    jobs = [make_job(1), make_job(2, reason="diverged"), make_job(3, status="failed")]
    periods = {1: make_periods(0.2), 2: make_periods(0.9, None), 3: make_periods(0.8)}
    [one] = trace(jobs, periods).series
    assert [(point.x, point.mean, point.low) for point in one.points] == [(1, 0.2, None)]
    assert one.left_out == {"diverged": 1, "failed": 1}


def test_seeds_are_shown_where_they_are_asked_for_also_those_that_are_in_no_mean() -> None:
    jobs = [make_job(1), make_job(2, reason="diverged"), make_job(3, status="queued", reason=None)]
    periods = {1: make_periods(0.2, 0.4), 2: make_periods(0.9, None)}
    assert [one.seeds for one in trace(jobs, periods).series] == [()]
    found = trace(jobs, periods, seeds=True)
    assert [(one.job_id, one.left_out, one.points) for one in found.series[0].seeds] == [
        (1, None, ((1, 0.2), (2, 0.4))),
        (2, "diverged", ((1, 0.9),)),
    ]
    assert found.seeds_left_out == 0
    lines = draw_curves(found).axes[0].lines
    assert [len(line.get_xdata()) for line in lines] == [2, 1, 2]  # type: ignore[arg-type]


def test_of_many_seeds_and_points_an_even_choice_is_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("studies.report.curves.MOST_SEEDS", 3)
    monkeypatch.setattr("studies.report.curves.MOST_SEED_POINTS", 2)
    jobs = [make_job(number) for number in range(1, 6)]
    periods = {job.job_id: make_periods(0.2, 0.4, 0.6) for job in jobs}
    found = trace(jobs, periods, seeds=True)
    assert [one.job_id for one in found.series[0].seeds] == [1, 3, 5]
    assert found.series[0].seeds[0].points == ((1, 0.2), (3, 0.6))
    assert found.seeds_left_out == 2
    assert found.series[0].n == 5


def test_curves_go_along_steps_and_show_the_metric_that_is_asked_for() -> None:
    found = trace([make_job(1)], {1: make_periods(0.2, 0.4)}, metric="train_loss", x="step")
    assert (found.metric, found.x) == ("train_loss", "step")
    assert [(one.x, one.mean) for one in found.series[0].points] == [(10, 0.5), (20, 0.25)]


def test_without_an_accuracy_the_loss_is_shown() -> None:
    assert trace([make_job(1)], {1: make_periods(0.2)}).metric == "val_accuracy"
    assert trace([make_job(1)], {1: make_periods(None)}).metric == "val_loss"
    assert trace([make_job(1)], {}).metric == "val_accuracy"


def test_a_job_shows_validation_beside_training() -> None:
    found = job_curves("one (j1)", make_periods(None, None))
    assert [(one.name, one.variant) for one in found.series] == [
        ("val_loss", "validation"),
        ("train_loss", "training"),
    ]


def test_values_of_a_job_that_are_not_finite_are_counted() -> None:
    periods = make_periods(None, None)
    periods[1] |= {"val_loss": None, "non_finite": {"val_loss": "nan"}}
    found = job_curves("one (j1)", periods)
    assert [(one.name, one.non_finite) for one in found.series] == [
        ("val_loss", 1),
        ("train_loss", 0),
    ]


def test_a_figure_has_a_panel_for_each_point_of_the_matrix_and_a_line_for_each_variant() -> None:
    jobs = [
        make_job(number, variant, point={"training.batch_size": size})
        for number, (variant, size) in enumerate(
            (variant, size) for size in (8, 64) for variant in ("batch", "group")
        )
    ]
    periods = {number: make_periods(0.2, 0.1 * number + 0.3) for number in range(4)}
    figure = draw_curves(trace(jobs, periods))
    axes = [axis for axis in figure.axes if axis.get_visible()]
    assert [axis.get_title(loc="left") for axis in axes] == ["batch_size=8", "batch_size=64"]
    assert [[list(line.get_ydata()) for line in axis.lines] for axis in axes] == [
        [[0.2, pytest.approx(0.3)], [0.2, pytest.approx(0.4)]],
        [[0.2, pytest.approx(0.5)], [0.2, pytest.approx(0.6)]],
    ]
    assert encode(figure, "svg").startswith(b"<?xml")


def test_a_figure_without_a_value_says_so() -> None:
    found = trace([make_job(1, status="queued", reason=None)], {})
    texts = [text.get_text() for text in draw_curves(found).axes[0].texts]
    assert texts == ["no finite value"]
