"""A report is drawn once, without its links; whoever shows it puts in those that it knows."""

import json
from pathlib import Path

from runtime.storage import FolderStorage
from studies.rendering import (
    Renderer,
    cached_figure,
    cached_page,
    draw_report,
    fill_links,
    linked_jobs,
    report_links,
)
from studies.rendering.renderer import COMMAND
from studies.report import ReportInput, available_figures, to_html
from tests.support.reports import make_report


def without_links(report: ReportInput) -> ReportInput:
    jobs = tuple(job.model_copy(update={"mlflow_url": None}) for job in report.jobs)
    return report.model_copy(update={"mlflow_url": None, "jobs": jobs})


class Template(Renderer):
    """Writes the page as the process that draws does, with pictures of nothing."""

    def __init__(self) -> None:
        super().__init__(command=COMMAND)
        self.starts = 0

    def render(self, content: bytes, *arguments: str) -> bytes:
        self.starts += 1
        report = ReportInput.model_validate_json(content)
        figures = {figure.name: "" for figure in available_figures(report)}
        return json.dumps({"page": to_html(report, {}), "figures": figures}).encode()


def test_links_change_nothing_of_what_is_drawn(tmp_path: Path) -> None:
    with_links, renderer = make_report(), Template()
    without = without_links(with_links)
    assert report_links(with_links)
    assert report_links(without) == {}
    assert cached_page(with_links) == cached_page(without)
    assert cached_figure(with_links, "gap") == cached_figure(without, "gap")
    first, second = (
        draw_report(one, FolderStorage(tmp_path), renderer) for one in (without, with_links)
    )
    assert renderer.starts == 1
    assert first == second
    assert list(first.figures) == [figure.name for figure in available_figures(without)]


def test_a_filled_page_is_the_page_that_the_report_itself_would_make(tmp_path: Path) -> None:
    report = make_report()
    page = draw_report(report, FolderStorage(tmp_path), Template()).page
    assert linked_jobs(page) == [job.id for job in report.jobs]
    assert fill_links(page, report_links(report)).decode() == to_html(report, {})
    assert fill_links(page, {}).decode() == to_html(without_links(report), {})


def test_a_report_that_lost_a_figure_is_drawn_again(tmp_path: Path) -> None:
    report, renderer = make_report(), Template()
    draw_report(report, FolderStorage(tmp_path), renderer)
    next((tmp_path / "studies" / str(report.study_id)).glob("figure-differences.*")).unlink()
    draw_report(report, FolderStorage(tmp_path), renderer)
    assert renderer.starts == 2
