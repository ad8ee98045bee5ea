"""The files of a study's run in MLflow: its figures, its report, its comparison."""

from collections.abc import Iterator
from pathlib import Path

from studies.rendering import Renderer, draw_report, fill_links, report_links
from studies.report import ReportInput, to_markdown_report


def study_files(
    report: ReportInput, storage: Path, renderer: Renderer
) -> Iterator[tuple[str, bytes]]:
    """Name and content, figures first: the report in Markdown shows those beside it. Figures come from the storage
    where they were drawn before. Raises `RenderingFailed`."""
    drawn = draw_report(report, storage, renderer)
    names = {name: f"{name}.png" for name in drawn.figures}
    for name, content in drawn.figures.items():
        yield names[name], content
    yield "report.html", fill_links(drawn.page, report_links(report))
    yield "report.md", to_markdown_report(report, names).encode()
    yield "comparison.json", report.comparison.model_dump_json(indent=2).encode()
