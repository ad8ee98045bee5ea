"""What a report says, as data, and its text formats."""

from studies.report import figure_list
from studies.report.curves import (
    MOST_SEED_POINTS,
    MOST_SEEDS,
    CurveAxis,
    CurveMetric,
    Curves,
    CurveSeries,
    finite_points,
    job_curves,
    mean_curve,
    study_curves,
)
from studies.report.figure_list import (
    FigureInfo,
    PictureFormat,
    available_figures,
    compared,
    find_own_figure,
    list_figures,
)
from studies.report.formats import to_html, to_json, to_markdown_report
from studies.report.generalization_gap import Gap, gaps, measure_of
from studies.report.layer_curves import LayerCurves, read_layer_curves
from studies.report.load import MOST_PERIODS, fetch_arrays, read_report
from studies.report.page import make_page, spec_text
from studies.report.schemas import Filters, Histogram, JobReport, ReportInput, arms
from studies.report.stopping_points import KEPT, stops
from studies.report.tables import (
    Table,
    markdown_text,
    to_csv,
    to_latex,
    to_markdown,
    variants_table,
)

__all__ = [
    "KEPT",
    "MOST_PERIODS",
    "MOST_SEEDS",
    "MOST_SEED_POINTS",
    "CurveAxis",
    "CurveMetric",
    "CurveSeries",
    "Curves",
    "FigureInfo",
    "Filters",
    "Gap",
    "Histogram",
    "JobReport",
    "LayerCurves",
    "PictureFormat",
    "ReportInput",
    "Table",
    "arms",
    "available_figures",
    "compared",
    "fetch_arrays",
    "figure_list",
    "find_own_figure",
    "finite_points",
    "gaps",
    "job_curves",
    "list_figures",
    "make_page",
    "markdown_text",
    "mean_curve",
    "measure_of",
    "read_layer_curves",
    "read_report",
    "spec_text",
    "stops",
    "study_curves",
    "to_csv",
    "to_html",
    "to_json",
    "to_latex",
    "to_markdown",
    "to_markdown_report",
    "variants_table",
]
