"""Learning curves, from rows of SQL.

Only training and validation are drawn: the test set stays sealed. A value that isn't finite is None.
"""

import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter

from studies.figures.mpl import draw_band, finish, make_figure, shown, whole_numbers
from studies.figures.palette import Style
from studies.report import finite_points, mean_curve

LOSS, ACCURACY = "loss", "accuracy"
#: Of a job's figure: every job has one, and a larger one takes longer.
JOB_DOTS_PER_INCH = 100
#: A loss that spans more than this factor is drawn on a logarithmic axis.
LOGARITHMIC_FROM = 50.0
#: Points of the matrix that have a row of panels each.
MOST_ROWS = 6

Row = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class SeedCurve:
    """One job of a study: its epoch rows in order; `left_out` says why it isn't in the mean."""

    epochs: Sequence[Row]
    left_out: str | None = None


@dataclass(frozen=True, slots=True)
class Arm:
    """The curves of a variant at a matrix point; `place` names the point, empty without a matrix."""

    variant: str
    place: str
    seeds: Sequence[SeedCurve]


def draw_job(title: str, epochs: Sequence[Row], best_epoch: int | None = None) -> Figure:
    """One job: training and validation loss and accuracy over its epochs; the kept epoch is marked."""
    measures = _measures([epochs])
    figure, axes = _sheet(title, len(measures))
    for axis, measure in zip(axes, measures, strict=True):
        for split, style in (("train", "--"), ("val", "-")):
            points = finite_points(epochs, f"{split}_{measure}")
            axis.plot(*_columns(points), style, marker="." if len(points) < 40 else "", label=split)
        if best_epoch is not None:
            axis.axvline(best_epoch, color="0.6", linewidth=1, label=f"kept: epoch {best_epoch}")
        _finish_axis(axis, measure)
    axes[0].legend(frameon=False)
    return figure


def draw_study(title: str, arms: Sequence[Arm], styles: Mapping[str, Style]) -> Figure:
    """All arms of a study, a row of panels for each point of its matrix: thin lines are seeds, the thick
    line is their mean, the band its 95 % t-interval.

    A seed that stopped early keeps its last value in the mean, so that the mean isn't over those
    alone that went on. What is left out of the mean (diverged, failed, …) is counted in the legend.
    """
    measures = _measures([one.epochs for arm in arms for one in arm.seeds])
    places, more = shown(list(dict.fromkeys(arm.place for arm in arms)) or [""], MOST_ROWS)
    most = max(sum(arm.place == place for arm in arms) for place in places)
    note = (
        "Mean over seeds with its 95 % t-interval; a seed that stopped early keeps its last value."
        + more
    )
    height = max(3.4, 0.24 * most + 0.4) * len(places) + 0.5
    figure = make_figure(10.5, height, title=title, note=note)
    panels = figure.subplots(len(places), len(measures), squeeze=False)
    for place, row in zip(places, panels, strict=True):
        of_place = [arm for arm in arms if arm.place == place]
        for axis, measure in zip(row, measures, strict=True):
            for arm in of_place:
                _draw_arm(axis, arm, f"val_{measure}", styles[arm.variant])
            _finish_axis(axis, measure, prefix="validation ")
            axis.set_title(place, fontsize="small", loc="left")
        row[-1].legend(
            loc="center left", bbox_to_anchor=(1.02, 0.5), frameon=False, fontsize="small"
        )
    return figure


def _measures(curves: Iterable[Sequence[Row]]) -> tuple[str, ...]:
    """Loss, and accuracy where it has a value or nothing has: a regression has none."""
    rows = [row for curve in curves for row in curve]
    measured = {
        one for one in (LOSS, ACCURACY) if any(row[f"val_{one}"] is not None for row in rows)
    }
    return (LOSS,) if measured == {LOSS} else (LOSS, ACCURACY)


def _draw_arm(axis: Axes, arm: Arm, column: str, style: Style) -> None:
    for one in arm.seeds:
        axis.plot(
            *_columns(finite_points(one.epochs, column)),
            color=style.color,
            alpha=0.2,
            linewidth=0.6,
        )
    trained = [one for one in arm.seeds if one.left_out is None]
    band = mean_curve([finite_points(one.epochs, column) for one in trained])
    left_out = Counter(one.left_out for one in arm.seeds if one.left_out is not None)
    counts = [f"n={len(trained)}", *(f"{count} {why}" for why, count in left_out.items())]
    label = f"{arm.variant} ({', '.join(counts)})"
    xs = [x for x, _, _ in band]
    means = [mean for _, mean, _ in band]
    marker = style.marker if len(xs) == 1 else ""
    axis.plot(xs, means, style.dash, color=style.color, linewidth=2, label=label, marker=marker)
    draw_band(axis, [(x, *interval) for x, _, interval in band if interval], style.color)


def _columns(points: Sequence[tuple[int, float]]) -> tuple[list[int], list[float]]:
    return [x for x, _ in points], [y for _, y in points]


def _sheet(title: str, panels: int) -> tuple[Figure, list[Axes]]:
    """Fixed margins: to compute a layout costs as much as the drawing, and every job has a figure."""
    figure = Figure(figsize=(8, 3.6), dpi=JOB_DOTS_PER_INCH)
    FigureCanvasAgg(figure)
    figure.subplots_adjust(left=0.08, right=0.98, bottom=0.14, top=0.9, wspace=0.22)
    figure.suptitle(title, fontsize="medium")
    return figure, list(figure.subplots(1, panels, squeeze=False)[0])


def _finish_axis(axis: Axes, measure: str, prefix: str = "") -> None:
    finish(axis)
    whole_numbers(axis)
    axis.set_xlabel("epoch", fontsize="small")
    unit = ", %" if measure == ACCURACY else ""
    axis.set_ylabel(f"{prefix}{measure}{unit}", fontsize="small")
    low, high = axis.dataLim.intervaly
    if measure == LOSS and 0 < low * LOGARITHMIC_FROM < high < math.inf:
        axis.set_yscale("log")
    if measure == ACCURACY:
        axis.yaxis.set_major_formatter(FuncFormatter(percent))
    if low > high:
        axis.text(0.5, 0.5, "no finite value", ha="center", transform=axis.transAxes, color="0.4")


def percent(value: float, _: object = None) -> str:
    """A share as percent, for an axis that says so: `97.5`."""
    return f"{value * 100:.4g}"
