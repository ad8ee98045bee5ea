"""A report's figures and page, and learning curves: from the storage, or drawn and kept there.

Links to MLflow are no part of what is drawn. So the sweep draws a study's report when it has ended, whether MLflow has
the study or not, and the API and the mirror copy it; each puts in the links that it knows.
"""

import base64
import html
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TypeAlias

from runtime.storage import Storage
from studies.rendering.cache import CachedRender
from studies.rendering.renderer import Renderer
from studies.report import Curves, PictureFormat, ReportInput, available_figures

#: Addresses in MLflow: the study's by this word, a job's by its number.
Links: TypeAlias = Mapping[str, str]
STUDY = "study"
#: In the page that is kept, links lead here, to one of the two.
_PLACE = "https://links.invalid/"
_LINK = re.compile(
    rf'(?P<dot> · )?<a href="{re.escape(_PLACE)}(?P<owner>{STUDY}|[0-9]+)">(?P<words>[^<]*)</a>'
)


@dataclass(frozen=True, slots=True)
class RenderedReport:
    """The report as HTML as it is kept, with its figures inside, and these by name as PNG, in their order."""

    page: bytes
    figures: Mapping[str, bytes]


def cached_figure(report: ReportInput, name: str, format: PictureFormat = "png") -> CachedRender:
    """Where one of the report's figures is kept."""
    return CachedRender.of(f"s{report.study_id}", f"figure-{name}", f".{format}", _content(report))


def cached_page(report: ReportInput) -> CachedRender:
    """Where the report as HTML is kept; `fill_links` makes it the page that people see."""
    return CachedRender.of(f"s{report.study_id}", "report", ".html", _content(report))


def draw_report(report: ReportInput, storage: Storage, renderer: Renderer) -> RenderedReport:
    """All of it is drawn by one process if the storage lacks any; raises `RenderingFailed`. The page has places for
    links, to be filled by `fill_links`."""
    names = [figure.name for figure in available_figures(report)]
    page = cached_page(report).read(storage)
    figures = {name: cached_figure(report, name).read(storage) for name in names}
    present = {name: figure for name, figure in figures.items() if figure is not None}
    if page is None or len(present) < len(names):
        page, present = _draw_all(report, storage, renderer, names)
    return RenderedReport(page, present)


def _draw_all(
    report: ReportInput, storage: Storage, renderer: Renderer, names: list[str]
) -> tuple[bytes, dict[str, bytes]]:
    answer = json.loads(renderer.render(_content(report).encode(), "report"))
    page = answer["page"].encode()
    figures = {name: base64.b64decode(answer["figures"][name]) for name in names}
    for name, figure in figures.items():
        cached_figure(report, name).keep(storage, figure)
    cached_page(report).keep(storage, page)
    return page, figures


def draw_figure(
    report: ReportInput, name: str, renderer: Renderer, format: PictureFormat = "png"
) -> bytes:
    """One figure; raises `RenderingFailed`."""
    return renderer.render(_content(report).encode(), "figure", name, format)


def draw_curves(curves: Curves, format: str, renderer: Renderer) -> bytes:
    """Learning curves as `png`, `svg` or `pdf`; raises `RenderingFailed`."""
    return renderer.render(curves.model_dump_json().encode(), "curves", format)


def report_links(report: ReportInput) -> Links:
    """Those that the report knows."""
    jobs = {str(job.id): job.mlflow_url for job in report.jobs}
    return {owner: url for owner, url in {STUDY: report.mlflow_url, **jobs}.items() if url}


def linked_jobs(page: bytes) -> list[int]:
    """The jobs that a page as it is kept has places for links of."""
    owners = (link["owner"] for link in _LINK.finditer(page.decode()))
    return [int(owner) for owner in owners if owner != STUDY]


def fill_links(page: bytes, links: Links) -> bytes:
    """The page as it is kept, with links to MLflow."""

    def fill(link: re.Match[str]) -> str:
        dot = link["dot"] or ""
        if url := links.get(link["owner"]):
            return f'{dot}<a href="{html.escape(url)}">{link["words"]}</a>'
        # As the template has it: nothing in the line of facts, a dash in the table of jobs.
        return "" if dot else "–"

    return _LINK.sub(fill, page.decode()).encode()


def _content(report: ReportInput) -> str:
    """What is drawn: the report with a placeholder for each link that it could have."""
    jobs = tuple(job.model_copy(update={"mlflow_url": f"{_PLACE}{job.id}"}) for job in report.jobs)
    return report.model_copy(
        update={"mlflow_url": f"{_PLACE}{STUDY}", "jobs": jobs}
    ).model_dump_json()
