"""Differences to the baseline as a forest plot, from a comparison."""

from collections.abc import Mapping, Sequence

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from studies.comparison import Comparison, Difference, VariantSummary
from studies.figures.mpl import FAINT, finish, make_figure
from studies.figures.palette import Style
from studies.report import compared
from studies.stats import bounds, gap, is_share

#: Comparisons that have a row each.
MOST_ROWS = 60


def draw_differences(comparison: Comparison, styles: Mapping[str, Style]) -> Figure:
    """A row per comparison: the mean difference with its interval, the equivalence margin shaded, and in
    words to the right what was decided."""
    rows = compared(comparison)
    shown = rows[:MOST_ROWS]
    note = f"Paired by seed; lines are {comparison.confidence * 100:.0f} % t-intervals of one comparison each."
    if comparison.plan.margin is not None:
        note += " Shaded: the margin within which variants are equivalent."
    if len(shown) < len(rows):
        note += f" The first {MOST_ROWS} of {len(rows)} comparisons are shown."
    figure = make_figure(9.5, 1.5 + 0.42 * len(shown), note=note)
    axis = figure.subplots()
    unit = 100.0 if is_share(comparison.metric) else 1.0
    if margin := comparison.plan.margin:
        axis.axvspan(-margin * unit, margin * unit, color="0.5", alpha=0.15, linewidth=0)
    axis.axvline(0, color="0.3", linewidth=1)
    for place, (one, difference) in enumerate(shown):
        _draw_row(axis, place, difference, styles[one.variant], unit)
    _name_rows(axis, shown, comparison.metric)
    _label(axis, comparison)
    return figure


def _draw_row(axis: Axes, place: int, difference: Difference, style: Style, unit: float) -> None:
    assert difference.mean is not None
    if difference.interval is not None:
        low, high = (bound * unit for bound in difference.interval)
        axis.plot(
            [low, high], [place, place], color=style.color, linewidth=2, solid_capstyle="butt"
        )
    axis.plot([difference.mean * unit], [place], style.marker, color=style.color, markersize=7)


def _name_rows(axis: Axes, rows: Sequence[tuple[VariantSummary, Difference]], metric: str) -> None:
    axis.set_yticks(range(len(rows)), [one.name for one, _ in rows])
    axis.set_ylim(len(rows) - 0.4, -0.6)
    beside = axis.secondary_yaxis("right")
    beside.set_yticks(range(len(rows)), [_words(one, metric) for _, one in rows])
    beside.tick_params(length=0, labelsize="small", labelcolor="0.25")
    beside.spines["right"].set_visible(False)


def _words(difference: Difference, metric: str) -> str:
    """`+0.66 points [+0.02 to +1.31], p = 0.031, better`."""
    assert difference.mean is not None
    said = gap(difference.mean, metric)
    if difference.interval is not None:
        said += f" [{bounds(difference.interval, metric)}]"
    if difference.p_adjusted is not None:
        p = difference.p_adjusted
        said += ", p < 0.001" if p < 0.001 else f", p = {p:.3f}"
    return f"{said}, {difference.decision}" if difference.decision else said


def _label(axis: Axes, comparison: Comparison) -> None:
    finish(axis, grid="x")
    axis.spines["left"].set_visible(False)
    axis.tick_params(axis="y", length=0)
    words = comparison.metric.replace("_", " ")
    unit = ", percentage points" if is_share(comparison.metric) else ""
    axis.set_xlabel(f"{words} minus that of {comparison.baseline}{unit}", fontsize="small")
    better = "better →" if comparison.higher_is_better else "← better"
    side = 1.0 if comparison.higher_is_better else 0.0
    axis.text(
        side, 1.01, better, transform=axis.transAxes, ha="right" if side else "left", va="bottom",
        fontsize="x-small", color=FAINT,
    )  # fmt: skip
