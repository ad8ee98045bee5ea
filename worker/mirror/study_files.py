"""The files of a study's run in MLflow: its figures, its report, its comparison. Sends nothing."""

from collections.abc import Iterator

from studies.figures.render import gallery
from studies.report import ReportInput, to_html, to_markdown_report


def study_files(report: ReportInput) -> Iterator[tuple[str, bytes]]:
    """Name and content, figures first: the report in Markdown shows those beside it."""
    pictures = {exhibit.name: content for exhibit, content in gallery(report)}
    names = {name: f"{name}.png" for name in pictures}
    for name, content in pictures.items():
        yield names[name], content
    yield "report.html", to_html(report, pictures).encode()
    yield "report.md", to_markdown_report(report, names).encode()
    yield "comparison.json", report.comparison.model_dump_json(indent=2).encode()
