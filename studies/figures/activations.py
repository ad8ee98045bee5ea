"""What norms are given and give over a training, as fans of percentiles per variant."""

import math
from collections.abc import Sequence

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from studies.figures.mpl import draw_band, finish, make_figure
from studies.report.panels import Column, Fan

#: Sides of a norm, in colours that people with any colour vision can distinguish.
SIDES = (("before", "#e69f00"), ("after", "#0072b2"))
#: Percentiles between which a band goes, the lightest first.
BANDS = (("1", "99", 0.15), ("15", "85", 0.3))


def draw_fans(fans: Sequence[Fan]) -> Figure:
    """A row per variant, a column per norm: median, and bands from percentile 15 to 85 and 1 to 99."""
    variants = list(dict.fromkeys(one.variant for one in fans))
    columns = max(sum(one.variant == variant for one in fans) for variant in variants)
    note = (
        "Lines: median; bands: percentiles 15 to 85, and 1 to 99, over examples, channels and positions. "
        f"Of one job each ({_seeds(fans)})."
    )
    figure = make_figure(3.3 * columns + 1.2, 2.1 * len(variants) + 0.5, note=note)
    panels = figure.subplots(len(variants), columns, squeeze=False)
    for variant, row in zip(variants, panels, strict=True):
        of_variant = [one for one in fans if one.variant == variant]
        for axis in row[len(of_variant) :]:
            axis.set_visible(False)
        for axis, fan in zip(row, of_variant, strict=False):
            draw_fan(axis, fan)
        row[0].set_ylabel(variant, fontsize="small", fontweight="bold")
    for axis in panels[-1]:
        axis.set_xlabel("step", fontsize="small")
    panels[0][-1].legend(
        loc="center left", bbox_to_anchor=(1.02, 0.5), frameon=False, fontsize="small"
    )
    return figure


def draw_fan(axis: Axes, fan: Fan) -> None:
    for side, color in SIDES:
        columns: dict[str, Column] = getattr(fan, side)
        for low, high, alpha in BANDS:
            bounds = [
                (step, one, other)
                for step, one, other in zip(fan.steps, columns[low], columns[high], strict=True)
                if one is not None and other is not None and math.isfinite(one + other)
            ]
            draw_band(axis, bounds, color, alpha)
        median = [
            (step, value)
            for step, value in zip(fan.steps, columns["50"], strict=True)
            if value is not None and math.isfinite(value)
        ]
        axis.plot(
            [step for step, _ in median],
            [value for _, value in median],
            color=color,
            linewidth=1.5,
            label=f"{side} the norm",
        )
    axis.set_title(fan.layer, fontsize="small")
    finish(axis)


def _seeds(fans: Sequence[Fan]) -> str:
    seeds = list(dict.fromkeys(str(one.seed) for one in fans))
    return f"seed {seeds[0]}" if len(seeds) == 1 else f"seeds {', '.join(seeds)}"
