"""A report's figures and page, and learning curves: from the storage, or drawn and kept there.

A figure shows no links, so its digest doesn't depend on MLflow: the sweep draws it when a study has ended, and the
API and the mirror copy it, each with links of its own in the page around it.
"""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from studies.rendering.cache import CachedRender
from studies.rendering.renderer import Renderer
from studies.report import Curves, ReportInput, available_figures, to_html

_LINKS: dict[str, Any] = {"mlflow_url": True, "jobs": {"__all__": {"mlflow_url"}}}


def cached_figure(report: ReportInput, name: str) -> CachedRender:
    """Where the PNG of one of the report's figures is kept."""
    content = report.model_dump_json(exclude=_LINKS)
    return CachedRender.of(f"s{report.study_id}", f"figure-{name}", ".png", content)


def cached_page(report: ReportInput) -> CachedRender:
    """Where the report as HTML is kept."""
    return CachedRender.of(f"s{report.study_id}", "report", ".html", report.digest())


def draw_figures(
    report: ReportInput, storage: Path, renderer: Renderer, names: Iterable[str] | None = None
) -> dict[str, bytes]:
    """PNGs by name, in the order of the report; of all figures whose data exist unless `names` are given.

    What the storage lacks is drawn by one process. Raises `RenderingFailed`.
    """
    chosen = [figure.name for figure in available_figures(report)] if names is None else list(names)
    cached = {name: cached_figure(report, name) for name in chosen}
    pictures = {name: cached[name].read(storage) for name in chosen}
    if missing := [name for name, picture in pictures.items() if picture is None]:
        content = report.model_dump_json().encode()
        for name, picture in renderer.render_figures(content, missing).items():
            cached[name].keep(storage, picture)
            pictures[name] = picture
    return {name: picture for name, picture in pictures.items() if picture is not None}


def draw_page(report: ReportInput, storage: Path, renderer: Renderer) -> bytes:
    """The report as HTML with its figures inside; raises `RenderingFailed`."""
    return to_html(report, draw_figures(report, storage, renderer)).encode()


def draw_curves(curves: Curves, format: str, renderer: Renderer) -> bytes:
    """Learning curves as `png` or `svg`; raises `RenderingFailed`."""
    return renderer.render(curves.model_dump_json().encode(), "curves", format)
