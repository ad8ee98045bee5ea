"""Learning curves as a figure of their own: a line per variant, a panel for each point of the matrix. Never
imported by the API."""

from collections.abc import Sequence

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter

from studies.figures.learning_curves import LOGARITHMIC_FROM, MOST_ROWS, percent
from studies.figures.mpl import draw_band, finish, grid_of, make_figure, shown, whole_numbers
from studies.figures.palette import Style, styles
from studies.report import Curves, CurveSeries

_COLUMNS = 2


def draw_curves(curves: Curves) -> Figure:
    """Means over seeds with their 95 % t-intervals; where the curves have seeds, each as a thin line."""
    places, more = shown(list(dict.fromkeys(one.place for one in curves.series)), MOST_ROWS)
    variants = list(dict.fromkeys(one.variant for one in curves.series))
    looks = styles(variants, curves.baseline or "")
    columns = min(_COLUMNS, len(places))
    rows = -(-len(places) // columns)
    is_mean = any(one.n > 1 for one in curves.series)
    with_seeds = any(one.seeds for one in curves.series)
    note = (
        "Mean over seeds with its 95 % t-interval; a seed that stopped early keeps its last value."
    )
    figure = make_figure(
        8.0 if columns == 1 else 11.0,
        max(4.0 * rows, 0.3 * len(variants) + 1.5),
        title=curves.title,
        note=(note if is_mean else "") + (_seeds_note(curves) if with_seeds else "") + more,
    )
    for place, axis in zip(places, grid_of(figure, len(places), columns), strict=True):
        of_place = [one for one in curves.series if one.place == place]
        for one in of_place:
            _draw(axis, one, looks[one.variant])
        _finish(axis, curves, place, of_place)
    return figure


def _seeds_note(curves: Curves) -> str:
    note = " Thin: each seed; dotted: one that is not in the mean."
    if curves.seeds_left_out:
        note += f" {curves.seeds_left_out} more seeds are not drawn."
    return note


def _draw(axis: Axes, one: CurveSeries, style: Style) -> None:
    counts = [f"n={one.n}"] if one.n != 1 or one.left_out else []
    counts += [f"{count} {why}" for why, count in one.left_out.items()]
    label = one.variant + (f" ({', '.join(counts)})" if counts else "")
    for seed in one.seeds:
        line = ":" if seed.left_out else style.dash
        axis.plot(
            *zip(*seed.points, strict=True), line, color=style.color, linewidth=0.7, alpha=0.5
        )
    xs = [point.x for point in one.points]
    means = [point.mean for point in one.points]
    marker = style.marker if len(xs) == 1 else ""
    axis.plot(xs, means, style.dash, color=style.color, linewidth=1.8, label=label, marker=marker)
    bounds = [
        (point.x, point.low, point.high)
        for point in one.points
        if point.low is not None and point.high is not None
    ]
    draw_band(axis, bounds, style.color)


def _finish(axis: Axes, curves: Curves, place: str, series: Sequence[CurveSeries]) -> None:
    finish(axis)
    whole_numbers(axis)
    split, _, measure = curves.metric.partition("_")
    split = {"val": "validation", "train": "training"}[split] + " "
    # One job shows both splits, named in the legend.
    name = measure if curves.baseline is None else split + measure
    axis.set_xlabel(curves.x, fontsize="small")
    axis.set_ylabel(name + (", %" if measure == "accuracy" else ""), fontsize="small")
    axis.set_title(place, fontsize="small", loc="left")
    if measure == "accuracy":
        axis.yaxis.set_major_formatter(FuncFormatter(percent))
    means = [point.mean for one in series for point in one.points]
    if not means:
        axis.text(0.5, 0.5, "no finite value", ha="center", transform=axis.transAxes, color="0.4")
    elif measure == "loss" and 0 < min(means) * LOGARITHMIC_FROM < max(means):
        axis.set_yscale("log")
    axis.legend(frameon=False, fontsize="small")
