"""Learning curves as PNG, from rows of SQL. Knows no MLflow and no pyplot; never imported by the API.

Only training and validation are drawn: the test set stays sealed. A value that isn't finite is None.
"""

import io
import math
import statistics
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.ticker import MaxNLocator

LOSS, ACCURACY = "loss", "accuracy"
DOTS_PER_INCH = 100
#: A loss that spans more than this factor is drawn on a logarithmic axis.
LOGARITHMIC_FROM = 50.0

Row = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class SeedCurve:
    """One job of a study: its epoch rows in order; `left_out` says why it isn't in the mean."""

    epochs: Sequence[Row]
    left_out: str | None = None


def draw_job(title: str, epochs: Sequence[Row], best_epoch: int | None = None) -> bytes:
    """One job: training and validation loss and accuracy over its epochs; the kept epoch is marked."""
    measures = _measures([epochs])
    figure, axes = _sheet(title, len(measures))
    for axis, measure in zip(axes, measures, strict=True):
        for split, style in (("train", "--"), ("val", "-")):
            points = _finite(epochs, f"{split}_{measure}")
            axis.plot(*_columns(points), style, marker="." if len(points) < 40 else "", label=split)
        if best_epoch is not None:
            axis.axvline(best_epoch, color="0.6", linewidth=1, label=f"kept: epoch {best_epoch}")
        _finish_axis(axis, measure)
    axes[0].legend(frameon=False)
    return _png(figure)


def draw_study(title: str, arms: Mapping[str, Sequence[SeedCurve]]) -> bytes:
    """All arms of a study: thin lines are seeds, the thick line their mean, the band ± one deviation.

    A seed that stopped early keeps its last value in the mean, so that the mean isn't over those
    alone that went on. What is left out of the mean (diverged, failed, …) is counted in the legend.
    """
    measures = _measures([one.epochs for seeds in arms.values() for one in seeds])
    figure, axes = _sheet(title, len(measures), legend_rows=len(arms))
    colors = _colors(len(arms))
    for axis, measure in zip(axes, measures, strict=True):
        for color, (name, seeds) in zip(colors, arms.items(), strict=True):
            _draw_arm(axis, name, seeds, f"val_{measure}", color)
        _finish_axis(axis, measure, prefix="validation ")
    axes[-1].legend(loc="center left", bbox_to_anchor=(1.02, 0.5), frameon=False, fontsize="small")
    note = "Mean ± 1 standard deviation over seeds; one that stopped early keeps its last value."
    figure.text(0.01, 0.01, note, fontsize="x-small", color="0.35")
    return _png(figure)


def _measures(curves: Iterable[Sequence[Row]]) -> tuple[str, ...]:
    """Loss, and accuracy where it has a value or nothing has: a regression has none."""
    rows = [row for curve in curves for row in curve]
    measured = {
        one for one in (LOSS, ACCURACY) if any(row[f"val_{one}"] is not None for row in rows)
    }
    return (LOSS,) if measured == {LOSS} else (LOSS, ACCURACY)


def _draw_arm(
    axis: Axes, name: str, seeds: Sequence[SeedCurve], column: str, color: tuple[float, ...]
) -> None:
    for one in seeds:
        axis.plot(*_columns(_finite(one.epochs, column)), color=color, alpha=0.25, linewidth=0.8)
    trained = [one for one in seeds if one.left_out is None]
    band = _mean_and_deviation([_finite(one.epochs, column) for one in trained])
    left_out = Counter(one.left_out for one in seeds if one.left_out is not None)
    counts = [f"n={len(trained)}", *(f"{count} {why}" for why, count in left_out.items())]
    label = f"{name} ({', '.join(counts)})"
    xs = [x for x, _, _ in band]
    means = [mean for _, mean, _ in band]
    axis.plot(xs, means, color=color, linewidth=2, label=label, marker="." if len(xs) == 1 else "")
    lows = [mean - deviation for _, mean, deviation in band]
    highs = [mean + deviation for _, mean, deviation in band]
    axis.fill_between(xs, lows, highs, color=color, alpha=0.15, linewidth=0)


def _mean_and_deviation(
    curves: Sequence[Sequence[tuple[int, float]]],
) -> list[tuple[int, float, float]]:
    """(epoch, mean, standard deviation) over curves, each carrying its last value onwards.

    Starts where every curve has a value.
    """
    drawn = [dict(curve) for curve in curves if curve]
    epochs = sorted({epoch for curve in drawn for epoch in curve})
    last: list[float | None] = [None] * len(drawn)
    band = []
    for epoch in epochs:
        last = [curve.get(epoch, held) for curve, held in zip(drawn, last, strict=True)]
        values = [value for value in last if value is not None]
        if len(values) == len(drawn):
            deviation = statistics.stdev(values) if len(values) > 1 else 0.0
            band.append((epoch, statistics.fmean(values), deviation))
    return band


def _finite(epochs: Sequence[Row], column: str) -> list[tuple[int, float]]:
    return [
        (row["epoch"], value)
        for row in epochs
        if (value := row[column]) is not None and math.isfinite(value)
    ]


def _columns(points: Sequence[tuple[int, float]]) -> tuple[list[int], list[float]]:
    return [x for x, _ in points], [y for _, y in points]


def _sheet(title: str, panels: int, legend_rows: int = 0) -> tuple[Figure, list[Axes]]:
    """A figure of panels side by side, made without pyplot: no global state, nothing to close.

    Fixed margins: to compute a layout costs as much as the drawing, and every job has a figure. Only
    a legend beside the panels, whose width nobody knows, is worth it.
    """
    size = (9.5 if legend_rows else 8, max(3.6, 0.2 * legend_rows))
    figure = Figure(figsize=size, dpi=DOTS_PER_INCH)
    FigureCanvasAgg(figure)
    if legend_rows:
        # The rectangle leaves room for the footnote.
        figure.set_layout_engine(ConstrainedLayoutEngine(rect=(0, 0.05, 1, 0.95)))
    else:
        figure.subplots_adjust(left=0.08, right=0.98, bottom=0.14, top=0.9, wspace=0.22)
    figure.suptitle(title, fontsize="medium")
    return figure, list(figure.subplots(1, panels, squeeze=False)[0])


def _finish_axis(axis: Axes, measure: str, prefix: str = "") -> None:
    axis.set_xlabel("epoch")
    axis.set_ylabel(prefix + measure)
    axis.grid(alpha=0.25)
    axis.xaxis.set_major_locator(MaxNLocator(integer=True))
    low, high = axis.dataLim.intervaly
    if measure == LOSS and 0 < low * LOGARITHMIC_FROM < high < math.inf:
        axis.set_yscale("log")
    if low > high:
        axis.text(0.5, 0.5, "no finite value", ha="center", transform=axis.transAxes, color="0.4")


def _colors(count: int) -> list[tuple[float, ...]]:
    palette = mpl.colormaps["tab10" if count <= 10 else "tab20"]
    return [palette(index % palette.N) for index in range(count)]


def _png(figure: Figure) -> bytes:
    content = io.BytesIO()
    figure.savefig(content, format="png")
    return content.getvalue()
