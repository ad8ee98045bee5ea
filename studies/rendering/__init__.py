"""Figures and pages: drawn once by a process of their own, kept in the storage, copied from there."""

from studies.rendering.cache import CachedRender
from studies.rendering.renderer import (
    MEGABYTES,
    SECONDS,
    Renderer,
    RenderingFailed,
    RenderingStopped,
)
from studies.rendering.reports import (
    STUDY,
    RenderedReport,
    cached_figure,
    cached_page,
    draw_curves,
    draw_figure,
    draw_report,
    fill_links,
    linked_jobs,
    report_links,
)

__all__ = [
    "MEGABYTES",
    "SECONDS",
    "STUDY",
    "CachedRender",
    "RenderedReport",
    "Renderer",
    "RenderingFailed",
    "RenderingStopped",
    "cached_figure",
    "cached_page",
    "draw_curves",
    "draw_figure",
    "draw_report",
    "fill_links",
    "linked_jobs",
    "report_links",
]
