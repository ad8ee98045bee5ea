"""Figures made without pyplot (no global state, nothing to close), as PNG, SVG or PDF; how their axes look."""

import io
from collections.abc import Sequence
from typing import cast

from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.ticker import MaxNLocator

from studies.report import PictureFormat

DOTS_PER_INCH = 150
FAINT = "0.4"


def make_figure(
    width: float, height: float, *, title: str = "", note: str = "", dpi: int = DOTS_PER_INCH
) -> Figure:
    """An empty one that lays itself out; `note` stands below it in small type."""
    figure = Figure(figsize=(width, height), dpi=dpi)
    FigureCanvasAgg(figure)
    # The rectangle leaves room for the note.
    foot = 0.26 * (note.count("\n") + 1) / height if note else 0.0
    figure.set_layout_engine(ConstrainedLayoutEngine(rect=(0, foot, 1, 1 - foot)))
    if title:
        figure.suptitle(title, fontsize="medium")
    if note:
        figure.text(0.01, 0.04 / height, note, fontsize="x-small", color=FAINT, va="bottom")
    return figure


def finish(axis: Axes, *, grid: str = "both") -> None:
    """Quiet: no frame on top and right, a faint grid behind the data."""
    axis.spines[["top", "right"]].set_visible(False)
    axis.grid(axis=grid, alpha=0.25, linewidth=0.6)  # type: ignore[arg-type]
    axis.set_axisbelow(True)
    axis.tick_params(which="both", labelsize="small")


def whole_numbers(axis: Axes) -> None:
    axis.xaxis.set_major_locator(MaxNLocator(integer=True, nbins="auto"))


def draw_band(
    axis: Axes, bounds: Sequence[tuple[float, float, float]], color: str, alpha: float = 0.18
) -> None:
    """(x, low, high) from left to right; nothing of nothing."""
    if bounds:
        xs, lows, highs = ([one[column] for one in bounds] for column in range(3))
        axis.fill_between(xs, lows, highs, color=color, alpha=alpha, linewidth=0)


def grid_of(figure: Figure, count: int, columns: int, *, share_y: bool = False) -> list[Axes]:
    """So many axes in rows of at most `columns`; what is left of the last row stays empty."""
    columns = min(columns, count)
    rows = -(-count // columns)
    panels = figure.subplots(rows, columns, squeeze=False, sharey=share_y).flatten()
    for spare in panels[count:]:
        spare.set_visible(False)
    return list(panels[:count])


def shown(names: Sequence[str], most: int) -> tuple[list[str], str]:
    """The first of them, and what to say of the others."""
    kept = list(names[:most])
    return kept, "" if len(kept) == len(names) else f" The first {most} of {len(names)} are shown."


def png(figure: Figure) -> bytes:
    return encode(figure, "png")


def encode(figure: Figure, format: PictureFormat) -> bytes:
    content = io.BytesIO()
    if format == "png":
        # The same bytes as `savefig`, which draws the figure a second time to compute its layout.
        cast(FigureCanvasAgg, figure.canvas).print_png(content)  # type: ignore[no-untyped-call]
    else:
        # Publishers refuse the fonts that matplotlib puts into a PDF by default (type 3).
        with rc_context({"pdf.fonttype": 42}):
            figure.savefig(content, format=format)
    return content.getvalue()
