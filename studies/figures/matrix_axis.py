"""A metric over an axis of the matrix, from a comparison."""

from collections.abc import Mapping, Sequence

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, NullLocator

from studies.comparison import Axis, Comparison, VariantSummary
from studies.figures.learning_curves import percent
from studies.figures.mpl import draw_band, finish, make_figure
from studies.figures.palette import Style
from studies.stats import is_share, mean, t_interval

#: Place on the axis, mean, and the interval of the mean (None at one seed).
Points = list[tuple[float, float, tuple[float, float] | None]]


def draw_axis(comparison: Comparison, axis: Axis, styles: Mapping[str, Style]) -> Figure:
    """A line per variant with a band: the mean over seeds and its t-interval at each value of the axis,
    values at other axes averaged first, seed by seed."""
    note = "Mean over seeds with its 95 % t-interval"
    note += (
        "; values at the other axes are averaged, seed by seed."
        if len(comparison.axes) > 1
        else "."
    )
    figure = make_figure(8, 4.2, note=note)
    panel = figure.subplots()
    places = places_of(axis)
    for variant, style in styles.items():
        arms = [one for one in comparison.variants if one.variant == variant]
        _draw_variant(panel, variant, points(arms, axis, places), style)
    _finish(panel, axis, places, comparison.metric)
    panel.legend(loc="center left", bbox_to_anchor=(1.02, 0.5), frameon=False, fontsize="small")
    return figure


def places_of(axis: Axis) -> list[float]:
    """Where its values lie: by their size where they are numbers, else side by side."""
    if axis.scale is None:
        return [float(number) for number in range(len(axis.values))]
    return [float(value) for value in axis.values]


def points(arms: Sequence[VariantSummary], axis: Axis, places: Sequence[float]) -> Points:
    """Of one variant's arms, from left to right; none where no seed has all of its values."""
    found: Points = []
    for place, value in zip(places, axis.values, strict=True):
        values = _by_seed([one for one in arms if one.point.get(axis.path) == value])
        centre = mean(values)
        if centre is not None:
            found.append((place, centre, t_interval(values)))
    return sorted(found)


def _by_seed(arms: Sequence[VariantSummary]) -> list[float]:
    """A value per seed that has one in all of these arms."""
    known = [{one.seed: one.value for one in arm.values if one.value is not None} for arm in arms]
    if not known:
        return []
    seeds = sorted(set(known[0]).intersection(*known[1:]))
    return [sum(one[seed] for one in known) / len(known) for seed in seeds]


def _draw_variant(panel: Axes, variant: str, found: Points, style: Style) -> None:
    xs, means = [x for x, _, _ in found], [centre for _, centre, _ in found]
    panel.plot(
        xs, means, style.dash, color=style.color, marker=style.marker, markersize=5, label=variant
    )
    draw_band(panel, [(x, *interval) for x, _, interval in found if interval], style.color)


def _finish(panel: Axes, axis: Axis, places: Sequence[float], metric: str) -> None:
    finish(panel)
    if axis.scale == "per doubling":
        panel.set_xscale("log", base=2)
    panel.set_xticks(places, [str(value) for value in axis.values])
    panel.xaxis.set_minor_locator(NullLocator())
    panel.set_xlabel(axis.path, fontsize="small")
    words = metric.replace("_", " ")
    panel.set_ylabel(f"{words}, %" if is_share(metric) else words, fontsize="small")
    if is_share(metric):
        panel.yaxis.set_major_formatter(FuncFormatter(percent))
        # An interval may reach beyond what a share can be.
        panel.set_ylim(top=min(panel.get_ylim()[1], 1.02))
