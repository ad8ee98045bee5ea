"""Every figure of a report shows the report's numbers; one whose data don't exist is left out."""

import io
import math
import statistics
from typing import Any

import numpy as np
import pytest
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from studies.figures.mpl import encode, png
from studies.figures.palette import styles
from studies.figures.render import draw, render_all
from studies.figures.weights import density, tile_rows
from studies.report import PictureFormat, figure_list
from studies.report.generalization_gap import gaps
from studies.report.schemas import Histogram, ReportInput
from tests.support.reports import (
    BEST,
    EPOCHS,
    MEANS,
    make_curve,
    make_fan,
    make_filters,
    make_histogram,
    make_report,
)

PNG = b"\x89PNG\r\n"
ALL = {
    "differences", "learning_curves", "generalization_gap", "early_stopping", "activations",
    "weights", "filters",
}  # fmt: skip


def lines(axis: Axes) -> list[tuple[list[float], list[float]]]:
    """Of every line that has points."""
    found = [
        (list(map(float, one.get_xdata())), list(map(float, one.get_ydata()))) for one in axis.lines
    ]
    return [one for one in found if one[0]]


def words(figure: Figure) -> str:
    return " ".join(
        text.get_text() for text in figure.findobj(lambda one: hasattr(one, "get_text"))
    )


def test_a_report_with_all_data_has_every_figure_with_the_bytes_of_savefig() -> None:
    report = make_report()
    found = dict(render_all(report))
    assert found.keys() == ALL
    assert all(content.startswith(PNG) and len(content) > 5000 for content in found.values())
    # Axes that share their scales with a note below, and images.
    for name in ("learning_curves", "filters"):
        expected = io.BytesIO()
        draw(report, name).savefig(expected, format="png")
        assert found[name] == expected.getvalue(), name


@pytest.mark.parametrize(("format", "begin"), [("svg", b"<?xml"), ("pdf", b"%PDF-")])
def test_a_figure_can_be_had_for_a_paper(format: PictureFormat, begin: bytes) -> None:
    content = encode(draw(make_report(), "differences"), format)
    assert content.startswith(begin)
    # A font that publishers take.
    assert b"/Type3" not in content


def test_what_has_no_data_is_left_out_and_says_how_to_get_it() -> None:
    report = make_report(insides=False)
    assert {one.name for one in figure_list.available_figures(report)} == ALL - {
        "activations",
        "weights",
        "filters",
    }
    reasons = {
        one.name: one.missing_reason
        for one in figure_list.list_figures(report)
        if one.missing_reason
    }
    assert "diagnostics: {kind: epoch}" in (reasons["activations"] or "")
    assert "evaluations: [{outputs: [weights]}]" in (reasons["weights"] or "")
    assert "evaluations: [{outputs: [filters]}]" in (reasons["filters"] or "")
    with pytest.raises(LookupError):
        draw(report, "weights")


@pytest.mark.parametrize("status", ["queued", "failed"])
def test_a_study_without_results_has_no_figures(status: str) -> None:
    report = make_report(insides=False)
    jobs = tuple(
        one.model_copy(
            update={"status": status, "reason": None, "curve": make_curve(0).__class__()}
        )
        for one in report.jobs
    )
    none = tuple(one.model_copy(update={"difference": None}) for one in report.comparison.variants)
    comparison = report.comparison.model_copy(update={"variants": none})
    empty = report.model_copy(update={"jobs": jobs, "comparison": comparison})
    assert figure_list.available_figures(empty) == []
    assert all(one.missing_reason for one in figure_list.list_figures(empty))


def test_the_forest_has_a_point_and_an_interval_for_each_comparison() -> None:
    report = make_report(margin=0.004)
    axis = draw(report, "differences").axes[0]
    drawn = lines(axis)
    for place, one in enumerate(report.comparison.variants[1:]):
        assert one.difference is not None
        assert one.difference.mean is not None
        assert one.difference.interval is not None
        low, high = (100 * bound for bound in one.difference.interval)
        assert ([pytest.approx(low), pytest.approx(high)], [place, place]) in drawn
        assert ([pytest.approx(100 * one.difference.mean)], [place]) in drawn
    margin = axis.patches[0].get_extents().transformed(axis.transData.inverted())
    assert (margin.x0, margin.x1) == pytest.approx((-0.4, 0.4))
    assert [tick.get_text() for tick in axis.get_yticklabels()] == ["batch", "group"]
    said = words(axis.figure)
    assert "percentage points" in said
    assert "better" in said


def test_a_loss_is_in_its_own_unit_and_better_to_the_left() -> None:
    report = make_report()
    loss = report.comparison.model_copy(update={"metric": "test_loss", "higher_is_better": False})
    figure = draw(report.model_copy(update={"comparison": loss}), "differences")
    assert "points" not in words(figure)
    assert "← better" in words(figure)
    difference = report.comparison.variants[1].difference
    assert difference is not None
    assert ([pytest.approx(difference.mean)], [0.0]) in lines(figure.axes[0])


def test_a_metric_over_an_axis_is_the_mean_at_each_value() -> None:
    report = make_report(matrix={"training.batch_size": [64, 8], "training.epochs": [2, 3]})
    figure = draw(report, "over_training_batch_size")
    axis = figure.axes[0]
    drawn = lines(axis)
    assert len(drawn) == len(MEANS)
    for (xs, ys), variant in zip(drawn, MEANS, strict=True):
        assert xs == [8, 64]
        for x, y in zip(xs, ys, strict=True):
            arms = [
                one
                for one in report.comparison.variants
                if one.variant == variant and one.point["training.batch_size"] == x
            ]
            assert y == pytest.approx(statistics.fmean(one.mean or 0 for one in arms))
    assert axis.get_xscale() == "log"
    assert [tick.get_text() for tick in axis.get_xticklabels()] == ["64", "8"]
    assert len(axis.collections) == len(MEANS)


def test_pictures_of_insides_say_of_which_point_of_the_matrix_they_are() -> None:
    report = make_report(matrix={"training.batch_size": [64, 8]})
    titles = {one.name: one.title for one in figure_list.list_figures(report)}
    assert titles["weights"] == "Weights at batch_size=64"
    assert {one.name: one.title for one in figure_list.list_figures(make_report())}[
        "weights"
    ] == "Weights"


def test_values_that_are_no_numbers_stand_side_by_side() -> None:
    report = make_report(matrix={"model.activation": ["relu", "tanh"]})
    axis = draw(report, "over_model_activation").axes[0]
    assert axis.get_xscale() == "linear"
    assert all(xs == [0, 1] for xs, _ in lines(axis))


def test_the_gap_is_between_training_and_validation_at_the_kept_epoch() -> None:
    report = make_report()
    found = {one.arm: one for one in gaps(report.jobs)}
    assert [len(one.pairs) for one in found.values()] == [7, 8, 8]
    pair = (0.9 + BEST / 100, 0.8 + BEST / 100)
    assert found["batch"].pairs == (pytest.approx(pair),) * 8
    left, right = draw(report, "generalization_gap").axes
    ends = [xs for xs, ys in lines(left) if ys == [1, 1]]
    assert ends[0] == pytest.approx([pair[1], pair[0]])
    means = [xs for xs, ys in lines(right) if ys == [1]]
    assert means == [[pytest.approx(10.0)]]


def test_a_gap_without_accuracy_is_one_of_losses() -> None:
    report = make_report()
    jobs = tuple(
        one.model_copy(
            update={
                "curve": one.curve.model_copy(
                    update={name: (None,) * EPOCHS for name in ("val_accuracy", "train_accuracy")}
                )
            }
        )
        for one in report.jobs
    )
    figure = draw(report.model_copy(update={"jobs": jobs}), "generalization_gap")
    assert "loss" in words(figure)
    assert "points" not in words(figure)


def test_each_rule_is_marked_where_it_would_have_stopped() -> None:
    report = make_report()
    panels = draw(report, "early_stopping").axes
    assert [axis.get_title(loc="left").split(" ")[0] for axis in panels] == [
        "none",
        "batch",
        "group",
    ]
    marked = lines(panels[1])[8:]
    kept, patience = marked[0], marked[1]
    assert kept == ([BEST] * 8, pytest.approx([1 / BEST + seed / 100 for seed in range(8)]))
    assert patience == ([EPOCHS] * 8, pytest.approx([1 / EPOCHS + seed / 100 for seed in range(8)]))
    assert len(lines(panels[0])) == 7 + 2
    said = words(panels[0].figure)
    assert "patience" in said
    assert "progress quotient" not in said


def test_a_fan_has_the_median_and_two_bands_per_side() -> None:
    axes = draw(make_report(), "activations").axes
    assert len(axes) == 6
    fan = make_fan("none", "1")
    drawn = lines(axes[0])
    assert drawn == [([10, 20], list(fan.before["50"])), ([10, 20], list(fan.after["50"]))]
    assert len(axes[0].collections) == 4
    outermost = axes[0].collections[0].get_paths()[0].vertices
    assert {tuple(corner) for corner in outermost} >= {(10, 1), (20, 2), (10, 99), (20, 100)}
    assert [axis.get_title() for axis in axes] == ["1", "4"] * 3


def test_a_fan_leaves_out_what_is_not_finite() -> None:
    fan = make_fan("none", "1")
    fan = fan.model_copy(update={"before": {p: (None, 1.0) for p in fan.before}})
    axes = draw(make_report(change={"fans": (fan,)}), "activations").axes
    assert lines(axes[0])[0] == ([20], [1])


def test_histograms_are_densities_per_variant() -> None:
    report = make_report()
    edges, heights = density(make_histogram("none"))
    assert (edges[0], edges[-1], len(heights)) == (-0.5, 0.5, 100)
    assert float(np.sum(heights * np.diff(edges))) == pytest.approx(1)
    [axis] = [axis for axis in draw(report, "weights").axes if axis.get_visible()]
    assert len(axis.patches) == 3
    assert np.array_equal(axis.patches[0].get_data().values, heights)
    # 0.1 % of these weights lie beyond 0.22.
    assert 0.2 < axis.get_xlim()[1] < 0.3


def test_one_far_out_weight_does_not_squeeze_the_others() -> None:
    counts = [0] * 100
    counts[50], counts[99] = 10_000, 1
    far = Histogram(
        variant="none", layer="0", jobs=1, reach=8, counts=tuple(counts), minimum=0, maximum=8
    )
    axis = draw(make_report(change={"histograms": (far,)}), "weights").axes[0]
    assert axis.get_xlim()[1] < 1


@pytest.mark.parametrize("channels", [1, 3, 5])
def test_filters_are_tiles_in_one_scale(channels: int) -> None:
    filters = make_filters("none", channels)
    tiles = tile_rows(filters)
    # Fourteen filters of 3 × 3: twelve in the first row, two in the second.
    assert tiles.shape == (3 + 1 + 3, 12 * 4 - 1, 3)
    first = filters.images()[0]
    shown = first if channels == 3 else first.mean(0, keepdims=True).repeat(3, axis=0)
    colored = filters.images() if channels == 3 else filters.images().mean(1)
    assert tiles[:3, :3] == pytest.approx(0.5 + shown.transpose(1, 2, 0) / (2 * abs(colored).max()))
    assert (tiles[3] == 1).all()
    assert (tiles.min(), tiles.max()) == (pytest.approx(0, abs=0.05), 1)


def test_filters_that_are_all_zero_are_grey() -> None:
    zero = make_filters("none")
    zero = type(zero).of(zero.images() * 0, variant="none", seed=0, layer="0", total=14)
    assert (tile_rows(zero)[:3, :3] == 0.5).all()


def test_a_variant_has_one_colour_in_all_figures() -> None:
    report = make_report()
    color = styles(report.variants, "none")["batch"].color

    def colors(name: str) -> set[Any]:
        figure = draw(report, name)
        drawn = [*figure.axes[0].lines, *(patch for axis in figure.axes for patch in axis.patches)]
        return {
            one.get_color() if hasattr(one, "get_color") else one.get_edgecolor() for one in drawn
        }

    for name in ("differences", "learning_curves", "generalization_gap"):
        assert color in colors(name), name


def test_many_variants_and_points_are_drawn_within_bounds() -> None:
    variants = {
        f"v{n}": {"norm": {"kind": "none"}, "training": {"epochs": n + 1}} for n in range(22)
    }
    report = make_report(variants, matrix={"training.batch_size": [64, 32, 16]}, insides=False)
    for info in figure_list.available_figures(report):
        figure = draw(report, info.name)
        assert png(figure).startswith(PNG)
        assert math.prod(figure.get_size_inches()) < 12 * 60, info.name


def test_the_input_survives_its_way_to_the_process_that_draws() -> None:
    report = make_report()
    again = ReportInput.model_validate_json(report.model_dump_json())
    assert again == report
    assert again.digest() == report.digest()
    assert report.model_copy(update={"status": "running"}).digest() != report.digest()
