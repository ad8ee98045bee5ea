"""Which figures a report has, what they show, and how to get those that it lacks."""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

from studies.comparison import Axis, Comparison, Difference, VariantSummary
from studies.report.generalization_gap import gaps
from studies.report.schemas import ReportInput
from studies.report.stopping_points import any_stops
from studies.spec import arm_name

#: What a figure is drawn as: for the screen, to edit, for a paper.
PictureFormat: TypeAlias = Literal["png", "svg", "pdf"]

#: What the study itself says it shows.
FIGURE = "figure"
_EMPTY = "no job has the numbers for it yet"
LEARNING_CURVES = "learning_curves"
DIFFERENCES = "differences"
GAP = "generalization_gap"
STOPPING = "early_stopping"
ACTIVATIONS = "activations"
WEIGHTS = "weights"
FILTERS = "filters"


@dataclass(frozen=True, slots=True)
class FigureInfo:
    """One figure: `name` is that of its file; `missing_reason` says how to get it where its data don't exist."""

    name: str
    title: str
    missing_reason: str | None = None


def list_figures(report: ReportInput) -> list[FigureInfo]:
    """In the order of the report, with those that it lacks."""
    return list(_list_figures(report))


def available_figures(report: ReportInput) -> list[FigureInfo]:
    """Those whose data exist."""
    return [figure for figure in _list_figures(report) if figure.missing_reason is None]


def find_own_figure(report: ReportInput) -> FigureInfo | None:
    """The one that the study itself describes; None of a study that describes none."""
    if not report.panels:
        return None
    has_any = any(one.kind != "nothing" for one in report.panels)
    return FigureInfo(FIGURE, report.description or report.name, None if has_any else _EMPTY)


def axis_figure(axis: Axis) -> str:
    """`over_training_batch_size`."""
    return "over_" + re.sub(r"[^a-z0-9]+", "_", axis.path.lower()).strip("_")


def place_name(point: Mapping[str, Any]) -> str:
    """`batch_size=8`; empty without a matrix."""
    return arm_name("", point).removeprefix(" · ")


def compared(comparison: Comparison) -> list[tuple[VariantSummary, Difference]]:
    """The arms that have a difference to show, in the order of the study."""
    return [
        (one, one.difference)
        for one in comparison.variants
        if one.difference is not None and one.difference.mean is not None
    ]


def _list_figures(report: ReportInput) -> Iterator[FigureInfo]:
    metric = report.comparison.metric.replace("_", " ")
    if (own := find_own_figure(report)) is not None:
        yield own
    yield FigureInfo(
        DIFFERENCES,
        f"Differences to {report.comparison.baseline} in {metric}",
        None
        if compared(report.comparison)
        else "needs a second variant, and a seed at which it and the baseline have a value",
    )
    for axis in report.comparison.axes:
        yield FigureInfo(axis_figure(axis), f"{metric.capitalize()} over {axis.path}")
    yield FigureInfo(
        LEARNING_CURVES,
        "Learning curves",
        None
        if any(one.curve.epoch for one in report.jobs)
        else "no evaluation period has ended yet",
    )
    yield FigureInfo(
        GAP,
        "Generalization gap",
        None if gaps(report.jobs) else "needs a job that succeeded without diverging",
    )
    yield FigureInfo(
        STOPPING,
        "Where each early-stopping rule would have stopped",
        None
        if any_stops(report.jobs)
        else "no rule would have stopped any of the trainings; train for more epochs to see where they would",
    )
    yield from _insides(report)


def _insides(report: ReportInput) -> Iterator[FigureInfo]:
    """Of one point of the matrix, which their titles name."""
    points = [one.point for one in report.jobs[:1] if report.spec.get("matrix")]
    where = "".join(f" at {place_name(point)}" for point in points)
    yield FigureInfo(
        ACTIVATIONS,
        f"Activations before and after norms{where}",
        None if report.fans else "put `diagnostics: {kind: epoch}` into the study's base",
    )
    for name, title, found in (
        (WEIGHTS, f"Weights{where}", report.histograms),
        (FILTERS, f"Filters of the first layer{where}", report.filters),
    ):
        wish = f"put `evaluations: [{{outputs: [{name}]}}]` into the study's base"
        yield FigureInfo(name, title, None if found else wish)
