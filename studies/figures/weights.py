"""What networks have learned, per variant: histograms of their weights, pictures of their first filters."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from studies.figures.mpl import finish, make_figure
from studies.figures.palette import Style
from studies.report import Filters, Histogram
from studies.report.panels import Images

#: Variants that differ in their layers have panels of their own; of more, the first are shown.
MOST_PANELS = 12
_COLUMNS = 4
#: Tiles of a row of filters.
_ACROSS = 12


def draw_histograms(histograms: Sequence[Histogram], styles: Mapping[str, Style]) -> Figure:
    """A panel per layer, a line per variant: the density of the weights that were kept."""
    layers = list(dict.fromkeys(one.layer for one in histograms))[:MOST_PANELS]
    columns = min(_COLUMNS, len(layers))
    rows = -(-len(layers) // columns)
    jobs = {one.variant: one.jobs for one in histograms}
    counts = sorted(set(jobs.values()))
    over = f"{counts[0]} to {counts[-1]}" if len(counts) > 1 else str(counts[0])
    note = (
        "Density of the weights that were evaluated, all jobs of a variant together "
        f"({over} job{'' if over == '1' else 's'} each).\n"
        "The axis leaves out the outermost 0.1 % on each side."
    )
    figure = make_figure(2.5 * columns + 1.6, 2.5 * rows + 0.5, note=note)
    panels = figure.subplots(rows, columns, squeeze=False).flatten()
    for axis, layer in zip(panels, layers, strict=False):
        of_layer = [one for one in histograms if one.layer == layer]
        for one in of_layer:
            _draw_histogram(axis, one, styles[one.variant])
        _show_most(axis, of_layer)
        axis.set_title(layer, fontsize="small")
    for spare in panels[len(layers) :]:
        spare.set_visible(False)
    _add_legend(panels[columns - 1], jobs, styles)
    return figure


def density(one: Histogram) -> tuple[Any, Any]:
    """Edges, and the share of the weights in each bin over its width."""
    edges = np.linspace(-one.reach, one.reach, len(one.counts) + 1)
    counts = np.array(one.counts, dtype=float)
    return edges, counts / counts.sum() / np.diff(edges)


def draw_filters(filters: Sequence[Filters]) -> Figure:
    """Tiles per variant: in colour where a filter has three channels, else the mean over its channels,
    light where positive, dark where negative, in one scale per variant."""
    tiles = [tile_rows(one) for one in filters]
    widths = [one.shape[1] / one.shape[0] for one in tiles]
    note = (
        "Middle grey is zero; each row has a scale of its own. "
        + _channels(filters)
        + f"Of one job each (seed {', '.join(dict.fromkeys(str(one.seed) for one in filters))})."
    )
    width = 8.0
    heights = [width / one for one in widths]
    figure = make_figure(width + 0.4, sum(heights) + 0.36 * len(filters) + 0.5, note=note)
    panels = figure.subplots(len(filters), 1, squeeze=False, height_ratios=heights)[:, 0]
    for axis, one, picture in zip(panels, filters, tiles, strict=True):
        axis.imshow(picture, cmap="gray", vmin=0, vmax=1, interpolation="nearest")
        count = f"{one.shape[0]} of {one.total}" if one.shape[0] < one.total else f"all {one.total}"
        axis.set_title(f"{one.variant}: {one.layer} ({count})", fontsize="small", loc="left")
        axis.set_axis_off()
    return figure


def tile_rows(one: Filters) -> Images:
    """All of them as one picture in [0, 1], H × W × 3, twelve in a row with a white pixel between."""
    images = one.images()
    colored = images if images.shape[1] == 3 else images.mean(1, keepdims=True).repeat(3, axis=1)
    reach = float(np.abs(colored).max()) or 1.0
    scaled = 0.5 + colored / (2 * reach)
    count, _, height, width = scaled.shape
    across = min(_ACROSS, count)
    down = -(-count // across)
    picture = np.ones((down * (height + 1) - 1, across * (width + 1) - 1, 3), dtype=np.float32)
    for number, image in enumerate(scaled):
        top, left = number // across * (height + 1), number % across * (width + 1)
        picture[top : top + height, left : left + width] = image.transpose(1, 2, 0)
    return picture


def _draw_histogram(axis: Axes, one: Histogram, style: Style) -> None:
    edges, heights = density(one)
    axis.stairs(heights, edges, color=style.color, linestyle=style.dash, linewidth=1.4)


def _show_most(axis: Axes, of_layer: Sequence[Histogram]) -> None:
    """One far-out weight must not squeeze all others together."""
    reach = max(_reach(one) for one in of_layer)
    axis.set_xlim(-reach, reach)
    axis.set_ylim(bottom=0)
    finish(axis)
    axis.set_xlabel("weight", fontsize="small")


def _reach(one: Histogram) -> float:
    """The lowest edge beyond which at most 0.1 % lie on either side."""
    edges, _ = density(one)
    shares = np.cumsum(one.counts) / sum(one.counts)
    inside = (shares > 0.001) & (np.concatenate(([0.0], shares[:-1])) < 0.999)
    places = np.flatnonzero(inside)
    return float(max(abs(edges[places[0]]), abs(edges[places[-1] + 1])))


def _add_legend(axis: Axes, variants: Mapping[str, int], styles: Mapping[str, Style]) -> None:
    for variant in variants:
        style = styles[variant]
        axis.plot([], [], style.dash, color=style.color, label=variant)
    axis.legend(loc="center left", bbox_to_anchor=(1.02, 0.5), frameon=False, fontsize="small")


def _channels(filters: Sequence[Filters]) -> str:
    channels = {one.shape[1] for one in filters}
    return (
        "" if channels <= {1, 3} else "Of filters with other than 3 channels, their mean is shown. "
    )
