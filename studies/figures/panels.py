"""A study's own figure, panel under panel."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, assert_never

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure, SubFigure
from matplotlib.ticker import FuncFormatter

from studies.figures.activations import draw_fan
from studies.figures.early_stopping import MARKERS
from studies.figures.learning_curves import percent
from studies.figures.mpl import draw_band, finish, make_figure
from studies.figures.palette import Style
from studies.figures.palette import styles as styles_of
from studies.figures.panel_images import draw_plane, draw_tiles
from studies.report.panels import (
    ACROSS,
    WIDTH,
    Bars,
    Fans,
    Lines,
    Nothing,
    PanelData,
    Planes,
    Steps,
    Tiles,
    figure_height,
    panel_height,
)

_NOTE = "Lines and bars: mean over seeds; bands and whiskers: its 95 % t-interval. Pictures, fans and planes: one job each."


def draw_panels(panels: Sequence[PanelData], variants: Mapping[str, Style]) -> Figure:
    """`variants`: how each variant looks; arms that are none get a look of their own."""
    heights = [panel_height(one) for one in panels]
    figure = make_figure(WIDTH, figure_height(panels), note=_NOTE)
    parts = figure.subfigures(len(panels), 1, squeeze=False, height_ratios=heights)[:, 0]
    for part, panel in zip(parts, panels, strict=True):
        if panel.title:
            part.suptitle(panel.title, fontsize="small", x=0.01, ha="left")
        _draw(part, panel, variants)
    return figure


def _draw(part: SubFigure, panel: PanelData, variants: Mapping[str, Style]) -> None:
    match panel:
        case Lines():
            _draw_lines(part.subplots(), panel, variants)
        case Bars():
            _draw_bars(part, panel, variants)
        case Fans():
            _each(part, panel.fans, lambda axis, fan: _labelled_fan(axis, fan))
        case Steps():
            _draw_steps(part.subplots(), panel, variants)
        case Tiles():
            draw_tiles(part, panel)
        case Planes():
            _each(part, panel.planes, draw_plane)
        case Nothing():
            axis = part.subplots()
            axis.set_axis_off()
            axis.text(0, 0.5, panel.why, fontsize="small", va="center")
        case _:
            assert_never(panel)


def _looks(arms: Sequence[str], variants: Mapping[str, Style]) -> Mapping[str, Style]:
    if all(arm in variants for arm in arms):
        return variants
    return styles_of(arms, "")


def _draw_lines(axis: Axes, panel: Lines, variants: Mapping[str, Style]) -> None:
    several = len({one.arm for one in panel.lines}) < len(panel.lines)
    names = [one.label if several else one.arm for one in panel.lines]
    looks = _looks(names, variants)
    for name, line in zip(names, panel.lines, strict=True):
        style = looks[name]
        marker = style.marker if len(line.x) <= 12 else None
        axis.plot(
            line.x, line.mean, style.dash, color=style.color, marker=marker, markersize=4,
            label=line.label,
        )  # fmt: skip
        bounds = [
            (x, low, high)
            for x, low, high in zip(line.x, line.low, line.high, strict=True)
            if low is not None and high is not None
        ]
        draw_band(axis, bounds, style.color)
    if panel.level is not None:
        axis.axhline(panel.level, color="0.6", linewidth=0.8, linestyle=":")
    for mark in panel.marks:
        shape = MARKERS[mark.rule] if mark.rule else "v"
        axis.plot([mark.x], [mark.y], shape, color=looks[mark.arm].color, markersize=8, mec="0.1")
    said = {mark.rule for mark in panel.marks}
    for rule, shape in MARKERS.items():
        if rule in said:
            axis.plot([], [], shape, color="none", mec="0.1", label=rule.replace("_", " "))
    finish(axis)
    axis.set_xscale(panel.x_scale)
    axis.set_yscale(panel.y_scale)
    if panel.x_scale == "log" and len({x for one in panel.lines for x in one.x}) <= 12:
        _mark_places(axis, panel)
    if panel.unit == "points":
        axis.yaxis.set_major_formatter(FuncFormatter(percent))
    _label(axis, panel.x_label, panel.y_label + (", %" if panel.unit == "points" else ""))


def _mark_places(axis: Axes, panel: Lines) -> None:
    places = sorted({x for one in panel.lines for x in one.x})
    axis.set_xticks(places, [f"{x:g}" for x in places])
    axis.set_xticks([], minor=True)


def _label(axis: Axes, x_label: str, y_label: str) -> None:
    axis.set_xlabel(x_label, fontsize="small")
    axis.set_ylabel(y_label, fontsize="small")
    axis.legend(loc="center left", bbox_to_anchor=(1.02, 0.5), frameon=False, fontsize="x-small")


def _draw_bars(part: SubFigure, panel: Bars, variants: Mapping[str, Style]) -> None:
    axes = part.subplots(1, len(panel.sets), squeeze=False)[0]
    for axis, bars, name, unit in zip(axes, panel.sets, panel.names, panel.units, strict=True):
        looks = _looks([one.arm for one in bars], variants)
        for place, bar in enumerate(bars):
            below = bar.mean - bar.low if bar.low is not None else 0.0
            above = bar.high - bar.mean if bar.high is not None else 0.0
            axis.barh(
                place, bar.mean, xerr=[[below], [above]], color=looks[bar.arm].color, alpha=0.8,
                error_kw={"linewidth": 1, "ecolor": "0.2"},
            )  # fmt: skip
        axis.set_yticks(range(len(bars)), [one.arm for one in bars])
        axis.invert_yaxis()
        finish(axis, grid="x")
        if unit == "points":
            axis.xaxis.set_major_formatter(FuncFormatter(percent))
        axis.set_xlabel(name + (", %" if unit == "points" else ""), fontsize="small")


def _draw_steps(axis: Axes, panel: Steps, variants: Mapping[str, Style]) -> None:
    looks = _looks(panel.arms, variants)
    for arm, edges, counts in zip(panel.arms, panel.edges, panel.counts, strict=True):
        heights = counts.array() / max(float(counts.array().sum()), 1.0)
        style = looks[arm]
        axis.stairs(
            np.maximum(heights, 1e-6), edges.array(), color=style.color, linestyle=style.dash,
            linewidth=1.3, label=arm,
        )  # fmt: skip
    axis.set_yscale("log")
    finish(axis)
    _label(axis, panel.x_label, "share")


def _each(part: SubFigure, items: Sequence[Any], draw: Callable[[Axes, Any], None]) -> None:
    columns = min(ACROSS, len(items))
    rows = -(-len(items) // columns)
    axes = part.subplots(rows, columns, squeeze=False).flatten()
    for axis, item in zip(axes, items, strict=False):
        draw(axis, item)
    for spare in axes[len(items) :]:
        spare.set_visible(False)


def _labelled_fan(axis: Axes, fan: Any) -> None:
    draw_fan(axis, fan)
    axis.set_title(f"{fan.variant}, {fan.layer}", fontsize="small")
    axis.set_xlabel("step", fontsize="small")
    axis.legend(frameon=False, fontsize="xx-small")
