"""A job's diagnostics as PNG: activations around its norms, gradients and weights of its layers."""

import math
from collections.abc import Mapping, Sequence

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from store.results import LayerSnapshot
from studies.figures.mpl import png
from trainer.spec import NETWORK, PERCENTILES

DOTS_PER_INCH = 100
#: Norms that have a panel each; the first and the last are always among them.
MOST_FANS = 4
MOST_LINES = 10

_SIDES = (("before", "tab:orange"), ("after", "tab:blue"))
_LINES = (
    ("gradient_norm", "gradient norm"),
    ("weight_norm", "weight norm"),
    ("effective_learning_rate", "effective learning rate, lr / |w|²"),
)


def draw_diagnostics(title: str, looks: Sequence[LayerSnapshot]) -> bytes:
    """Above, for some of the norms, the percentiles 1, 15, 50, 85, 99 before and after it; below, each
    weight layer's gradient, weights and effective learning rate. All over steps."""
    layers: dict[str, list[LayerSnapshot]] = {}
    for look in looks:
        layers.setdefault(look.layer, []).append(look)
    norms = _spread([name for name, of in layers.items() if "after_p50" in of[0].statistics])
    weights = [name for name, of in layers.items() if "weight_sparsity" in of[0].statistics]
    rows = bool(norms) + bool(weights)
    figure = Figure(figsize=(12, 0.6 + 3.4 * max(rows, 1)), dpi=DOTS_PER_INCH, layout="constrained")
    FigureCanvasAgg(figure)
    figure.suptitle(title, fontsize="medium")
    parts = iter(figure.subfigures(max(rows, 1), 1, squeeze=False)[:, 0])
    if norms:
        for axis, name in zip(
            next(parts).subplots(1, len(norms), squeeze=False)[0], norms, strict=True
        ):
            _draw_fans(axis, name, layers[name])
    if weights:
        panels = next(parts).subplots(1, len(_LINES))
        chosen = _spread(weights, MOST_LINES)
        for axis, (statistic, label) in zip(panels, _LINES, strict=True):
            _draw_lines(axis, statistic, label, {name: layers[name] for name in chosen})
        panels[-1].legend(fontsize="x-small", frameon=False, bbox_to_anchor=(1.0, 1.0))
    return png(figure)


def _spread(names: Sequence[str], most: int = MOST_FANS) -> list[str]:
    """Evenly over the depth, the first and the last among them."""
    if len(names) <= most:
        return [name for name in names if name != NETWORK]
    places = [round(number * (len(names) - 1) / (most - 1)) for number in range(most)]
    return [names[place] for place in places]


def _draw_fans(axis: Axes, name: str, looks: Sequence[LayerSnapshot]) -> None:
    for side, color in _SIDES:
        curves = {p: _curve(looks, f"{side}_p{p}") for p in PERCENTILES}
        for low, high, alpha in ((1, 99, 0.12), (15, 85, 0.3)):
            steps = sorted(curves[low].keys() & curves[high].keys())
            lows, highs = [curves[low][s] for s in steps], [curves[high][s] for s in steps]
            axis.fill_between(steps, lows, highs, color=color, alpha=alpha, linewidth=0)
        median = curves[50]
        axis.plot(list(median), list(median.values()), color=color, label=side)
    axis.set_title(name, fontsize="small")
    _finish(axis)
    axis.legend(fontsize="x-small", frameon=False)


def _draw_lines(
    axis: Axes, statistic: str, label: str, layers: Mapping[str, Sequence[LayerSnapshot]]
) -> None:
    palette = mpl.colormaps["viridis"]
    drawn = []
    for number, (name, looks) in enumerate(layers.items()):
        curve = _curve(looks, statistic)
        drawn += list(curve.values())
        color = palette(number / max(len(layers) - 1, 1))
        axis.plot(list(curve), list(curve.values()), color=color, label=name, linewidth=1.2)
    if drawn and min(drawn) > 0:
        axis.set_yscale("log")
    axis.set_title(label, fontsize="small")
    _finish(axis)


def _curve(looks: Sequence[LayerSnapshot], statistic: str) -> dict[int, float]:
    values = ((look.step, look.statistics.get(statistic)) for look in looks)
    return {step: value for step, value in values if value is not None and math.isfinite(value)}


def _finish(axis: Axes) -> None:
    axis.set_xlabel("step", fontsize="small")
    axis.tick_params(which="both", labelsize="x-small")
    axis.grid(alpha=0.25)
