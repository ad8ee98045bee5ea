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
    cached_figure,
    cached_page,
    draw_curves,
    draw_figures,
    draw_page,
)

__all__ = [
    "MEGABYTES",
    "SECONDS",
    "CachedRender",
    "Renderer",
    "RenderingFailed",
    "RenderingStopped",
    "cached_figure",
    "cached_page",
    "draw_curves",
    "draw_figures",
    "draw_page",
]
