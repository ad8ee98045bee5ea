"""How much better training is than validation, per arm, at the epoch whose weights were kept."""

from collections.abc import Mapping, Sequence

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter

from studies.figures.learning_curves import ACCURACY, percent
from studies.figures.mpl import finish, make_figure, shown
from studies.figures.palette import Style
from studies.report import Gap, JobReport, gaps, measure_of
from studies.stats import mean, t_interval

MOST_ROWS = 40


def draw_gaps(jobs: Sequence[JobReport], styles: Mapping[str, Style]) -> Figure:
    """Left: where training (hollow) and validation (filled) ended; right: their difference and its
    95 % t-interval."""
    found, measure = gaps(jobs), measure_of(jobs)
    names, more = shown([one.arm for one in found], MOST_ROWS)
    rows = [one for one in found if one.arm in names]
    note = (
        "At the epoch whose weights were kept; means over seeds, dots are seeds. Training is measured "
        "while it trains:\nwith augmentation and dropout on, over the epoch. Right: with its 95 % "
        f"t-interval.{more}"
    )
    figure = make_figure(9.5, 1.6 + 0.42 * len(rows), note=note)
    left, right = figure.subplots(1, 2, sharey=True, width_ratios=(3, 2))
    unit = 100.0 if measure == ACCURACY else 1.0
    for place, one in enumerate(rows):
        _draw_ends(left, place, one, styles[one.variant])
        _draw_gap(right, place, one, styles[one.variant], unit)
    _finish(left, right, rows, measure)
    return figure


def _draw_ends(axis: Axes, place: int, one: Gap, style: Style) -> None:
    train, val = ([pair[side] for pair in one.pairs] for side in (0, 1))
    ends = [mean(val) or 0.0, mean(train) or 0.0]
    axis.plot(ends, [place, place], color=style.color, linewidth=1.5, alpha=0.6)
    for values, offset in ((val, 0.17), (train, -0.17)):
        axis.plot(
            values, [place + offset] * len(values), ".", color=style.color, alpha=0.35, markersize=3
        )
    axis.plot(ends[:1], [place], "o", color=style.color, markersize=7)
    axis.plot(ends[1:], [place], "o", color=style.color, markersize=7, markerfacecolor="white")


def _draw_gap(axis: Axes, place: int, one: Gap, style: Style, unit: float) -> None:
    differences = [value * unit for value in one.differences]
    interval = t_interval(differences)
    if interval is not None:
        axis.plot(interval, [place, place], color=style.color, linewidth=2, solid_capstyle="butt")
    axis.plot([mean(differences) or 0.0], [place], style.marker, color=style.color, markersize=7)


def _finish(left: Axes, right: Axes, rows: Sequence[Gap], measure: str) -> None:
    for axis in (left, right):
        finish(axis, grid="x")
        axis.spines["left"].set_visible(False)
        axis.tick_params(axis="y", length=0)
    left.set_yticks(range(len(rows)), [f"{one.arm} (n={len(one.pairs)})" for one in rows])
    left.set_ylim(len(rows) - 0.4, -0.6)
    right.axvline(0, color="0.3", linewidth=1)
    is_share = measure == ACCURACY
    left.set_xlabel(f"{measure}{', %' if is_share else ''}", fontsize="small")
    unit = ", percentage points" if is_share else ""
    right.set_xlabel(f"training minus validation{unit}", fontsize="small")
    if is_share:
        left.xaxis.set_major_formatter(FuncFormatter(percent))
    for face, label in (("0.3", "validation"), ("white", "training")):
        left.plot([], [], "o", color="0.3", markerfacecolor=face, markersize=6, label=label)
    left.legend(
        loc="lower left", bbox_to_anchor=(0.0, 1.0), ncols=2, frameon=False, fontsize="x-small"
    )
