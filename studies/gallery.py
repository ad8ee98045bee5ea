"""All figures of a report, drawn one at a time."""

from collections.abc import Iterator

from matplotlib.figure import Figure

from studies import exhibits
from studies.activation_figures import draw_fans
from studies.axis_figures import draw_axis
from studies.canvas import png
from studies.difference_figures import draw_differences
from studies.exhibits import Exhibit
from studies.figures import Arm, SeedCurve, draw_study
from studies.gap_figures import draw_gaps
from studies.palette import styles
from studies.panel_figures import draw_panels
from studies.report import ReportInput, arms
from studies.stopping_figures import draw_stopping
from studies.weight_figures import draw_filters, draw_histograms


def gallery(report: ReportInput) -> Iterator[tuple[Exhibit, bytes]]:
    """Every figure whose data exist, as PNG."""
    for exhibit in exhibits.present(report):
        yield exhibit, png(draw(report, exhibit.name))


def draw(report: ReportInput, name: str) -> Figure:
    """The figure of this name; raises LookupError for one that the report has not."""
    if name not in {one.name for one in exhibits.present(report)}:
        raise LookupError(f"the report has no figure {name}")
    of_variant = styles(report.variants, report.comparison.baseline)
    match name:
        case exhibits.FIGURE:
            return draw_panels(report.panels, of_variant)
        case exhibits.LEARNING_CURVES:
            return draw_study("", _curves(report), of_variant)
        case exhibits.DIFFERENCES:
            return draw_differences(report.comparison, of_variant)
        case exhibits.GAP:
            return draw_gaps(report.jobs, of_variant)
        case exhibits.STOPPING:
            return draw_stopping(report.jobs)
        case exhibits.ACTIVATIONS:
            return draw_fans(report.fans)
        case exhibits.WEIGHTS:
            return draw_histograms(report.histograms, of_variant)
        case exhibits.FILTERS:
            return draw_filters(report.filters)
        case _:
            axes = {exhibits.axis_figure(one): one for one in report.comparison.axes}
            return draw_axis(report.comparison, axes[name], of_variant)


def _curves(report: ReportInput) -> list[Arm]:
    return [
        Arm(
            variant=jobs[0].variant,
            place=exhibits.place_name(jobs[0].point),
            seeds=[SeedCurve(one.curve.rows(), one.left_out) for one in jobs],
        )
        for jobs in arms(report.jobs).values()
    ]
