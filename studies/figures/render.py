"""All figures of a report, drawn one at a time."""

from collections.abc import Iterator

from matplotlib.figure import Figure

from studies.figures.activations import draw_fans
from studies.figures.early_stopping import draw_stopping
from studies.figures.forest_plot import draw_differences
from studies.figures.generalization_gap import draw_gaps
from studies.figures.learning_curves import Arm, SeedCurve, draw_study
from studies.figures.matrix_axis import draw_axis
from studies.figures.mpl import png
from studies.figures.palette import styles
from studies.figures.panels import draw_panels
from studies.figures.weights import draw_filters, draw_histograms
from studies.report import ReportInput, arms, figure_list


def render_all(report: ReportInput) -> Iterator[tuple[str, bytes]]:
    """The name and PNG of every figure whose data exist."""
    for info in figure_list.available_figures(report):
        yield info.name, png(draw(report, info.name))


def draw(report: ReportInput, name: str) -> Figure:
    """The figure of this name; raises LookupError for one that the report has not."""
    if name not in {info.name for info in figure_list.available_figures(report)}:
        raise LookupError(f"the report has no figure {name}")
    of_variant = styles(report.variants, report.comparison.baseline)
    match name:
        case figure_list.FIGURE:
            return draw_panels(report.panels, of_variant)
        case figure_list.LEARNING_CURVES:
            return draw_study("", _curves(report), of_variant)
        case figure_list.DIFFERENCES:
            return draw_differences(report.comparison, of_variant)
        case figure_list.GAP:
            return draw_gaps(report.jobs, of_variant)
        case figure_list.STOPPING:
            return draw_stopping(report.jobs)
        case figure_list.ACTIVATIONS:
            return draw_fans(report.fans)
        case figure_list.WEIGHTS:
            return draw_histograms(report.histograms, of_variant)
        case figure_list.FILTERS:
            return draw_filters(report.filters)
        case _:
            axes = {figure_list.axis_figure(one): one for one in report.comparison.axes}
            return draw_axis(report.comparison, axes[name], of_variant)


def _curves(report: ReportInput) -> list[Arm]:
    return [
        Arm(
            variant=jobs[0].variant,
            place=figure_list.place_name(jobs[0].point),
            seeds=[SeedCurve(one.curve.rows(), one.left_out) for one in jobs],
        )
        for jobs in arms(report.jobs).values()
    ]
