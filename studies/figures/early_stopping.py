"""Where each early-stopping rule would have ended the trainings, per arm."""

import statistics as stdlib
from collections.abc import Sequence

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from studies.figures.mpl import finish, grid_of, make_figure, shown, whole_numbers
from studies.report import KEPT, JobReport, arms, stops

MOST_PANELS = 9
_COLUMNS = 3
#: A loss that spans more than this factor is drawn on a logarithmic axis: rules differ where it is low.
_LOGARITHMIC_FROM = 4.0
#: Label, marker, colour and size: open and of different sizes, for rules often agree.
_LOOKS = {
    KEPT: ("kept weights", "*", "0.1", 5),
    "patience": ("patience", "o", "#0072b2", 8),
    "generalization_loss": ("generalization loss", "D", "#d55e00", 10),
    "progress_quotient": ("progress quotient", "^", "#009e73", 12),
    "successive_increases": ("successive increases", "s", "#cc79a7", 7),
}
#: Rule → its mark, in every figure the same.
MARKERS = {rule: look[1] for rule, look in _LOOKS.items()}


def draw_stopping(jobs: Sequence[JobReport]) -> Figure:
    """A panel per arm: the validation loss of each seed, and on it where each rule would have stopped."""
    found = {
        arm: [one for one in of_arm if one.left_out is None]
        for arm, of_arm in arms(tuple(jobs)).items()
    }
    names, more = shown([arm for arm, of_arm in found.items() if of_arm], MOST_PANELS)
    note = (
        "Lines: validation loss, a line per seed. Each rule has its own options where the spec names it, else "
        f"its defaults;\none that is not there would have let all of them train on.{more}"
    )
    # Four are two and two.
    columns = 2 if len(names) == 4 else _COLUMNS
    rows = -(-len(names) // columns)
    figure = make_figure(10, 2.7 * rows + 0.9, note=note)
    panels = grid_of(figure, len(names), columns, share_y=True)
    lows: list[float] = []
    for axis, arm in zip(panels, names, strict=True):
        lows += _draw_panel(axis, arm, found[arm])
    if lows and 0 < min(lows) * _LOGARITHMIC_FROM < max(lows):
        panels[0].set_yscale("log")
    for axis in panels[::columns]:
        axis.set_ylabel("validation loss", fontsize="small")
    said = {one.rule for arm in names for one in stops(found[arm]) if one.points}
    for rule in _LOOKS:
        if rule in said:
            _mark(panels[0], rule, [], _LOOKS[rule][0])
    figure.legend(
        *panels[0].get_legend_handles_labels(), loc="outside upper center", ncols=5, frameon=False,
        fontsize="small",
    )  # fmt: skip
    return figure


def _draw_panel(axis: Axes, arm: str, jobs: Sequence[JobReport]) -> list[float]:
    """Returns all values drawn."""
    values: list[float] = []
    for one in jobs:
        points = [
            (epoch, loss)
            for epoch, loss in zip(one.curve.epoch, one.curve.val_loss, strict=True)
            if loss is not None
        ]
        values += [loss for _, loss in points]
        axis.plot([x for x, _ in points], [y for _, y in points], color="0.75", linewidth=0.8)
    for stop in stops(jobs):
        _mark(axis, stop.rule, stop.points)
    axis.set_title(f"{arm}{_median(jobs)}", fontsize="small", loc="left")
    axis.set_xlabel("epoch", fontsize="small")
    finish(axis)
    whole_numbers(axis)
    return values


def _mark(
    axis: Axes, rule: str, points: Sequence[tuple[int, float]], label: str | None = None
) -> None:
    _, marker, color, size = _LOOKS[rule]
    axis.plot(
        [x for x, _ in points],
        [y for _, y in points],
        marker,
        color=color,
        markersize=size,
        markerfacecolor=color if rule == KEPT else "none",
        markeredgewidth=1.2,
        label=label,
    )


def _median(jobs: Sequence[JobReport]) -> str:
    kept = [x for one in stops(jobs) if one.rule == KEPT for x, _ in one.points]
    return f" (kept: epoch {stdlib.median(kept):g} in the median)" if kept else ""
