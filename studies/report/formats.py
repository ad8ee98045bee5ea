"""A report as HTML, JSON and Markdown. Whatever a person wrote is text in it, never markup."""

import base64
import dataclasses
import json
from collections.abc import Iterable, Iterator, Mapping

from studies.presets import PresetRun
from studies.report.figure_list import FigureInfo, list_figures
from studies.report.page import Page, make_page
from studies.report.schemas import ReportInput
from studies.report.tables import Table, markdown_text, to_markdown

#: Pictures' data are in files of their own: the jobs' `files` name them.
_PICTURED = {"fans", "filters", "histograms", "panels"}


def to_html(report: ReportInput, pictures: Mapping[str, bytes]) -> str:
    """One file: styles and pictures inside, no scripts, nothing fetched. `pictures`: the PNG of each figure, by its
    name."""
    # Imported here: the API's process reads reports, and never writes one as HTML.
    from jinja2 import Environment, PackageLoader, StrictUndefined

    environment = Environment(
        loader=PackageLoader("studies.report", "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    encoded = {name: base64.b64encode(content).decode() for name, content in pictures.items()}
    return environment.get_template("report.html").render(
        page=make_page(report), figures=list_figures(report), pictures=encoded
    )


def to_json(report: ReportInput) -> bytes:
    """For a program: all its data, without pictures and what only they need; with `figures`: which there are by
    name, and how to get those that are missing."""
    data = report.model_dump(mode="json", exclude=_PICTURED)
    data["figures"] = [
        # `lacks` is the earlier name of `missing_reason`.
        {**dataclasses.asdict(figure), "lacks": figure.missing_reason}
        for figure in list_figures(report)
    ]
    return json.dumps(data, indent=2, allow_nan=False, ensure_ascii=False).encode()


def to_markdown_report(report: ReportInput, pictures: Mapping[str, str] | None = None) -> str:
    """`pictures`: where each figure lies, by its name; a figure that lies nowhere is only mentioned."""
    figures = _figures(list_figures(report), pictures or {})
    return "\n".join(_lines(make_page(report), figures)) + "\n"


def _lines(page: Page, figures: Iterator[str]) -> Iterator[str]:
    yield f"# {markdown_text(page.title)}"
    yield ""
    yield markdown_text("; ".join(page.facts)) + "."
    if page.link is not None:
        yield f"[{page.link.words}](<{page.link.url}>)"
    yield from ("", f"**{markdown_text(page.verdict)}**", "")
    yield from _list(page.reasons)
    if page.description:
        yield from ("", *(f"> {markdown_text(line)}" for line in page.description.splitlines()))
    if page.preset is not None:
        yield from _preset(page.preset)
    if page.claims is not None:
        yield from ("", "## Claims", "", to_markdown(page.claims), "")
        yield from _list(page.claim_sentences)
    yield from (
        "",
        "## Variants",
        "",
        to_markdown(page.variants),
        "",
        markdown_text(page.reading),
        "",
    )
    yield from _list((*page.sensitivities, *page.notes))
    if page.trials is not None:
        yield from ("", "## Tuning", "", to_markdown(page.trials), "")
        yield from _list(page.trial_notes)
    if page.budget is not None:
        yield from ("", "### With fewer trials", "", to_markdown(page.budget), "")
        yield from _list(page.budget_notes)
    if page.importance is not None:
        yield from ("", "### Importance of settings", "", to_markdown(page.importance), "")
        yield from _list(page.importance_notes)
    if page.replays is not None:
        yield from ("", "### Had bad trials been stopped early", "", page.replays_note, "")
        yield to_markdown(page.replays)
    for axis in page.axes:
        yield from ("", f"## Along {markdown_text(axis.path)}", "", to_markdown(axis.means))
        if axis.slopes.rows:
            yield from ("", to_markdown(axis.slopes))
    yield from ("", "## What else differs", "", *_confounds(page))
    yield from ("", "## Figures", "", *figures)
    yield from ("", "## Study", "", *(f"    {line}" for line in page.spec.splitlines()))
    yield from ("", "## Digests and versions", "")
    yield to_markdown(Table(("what", "value"), page.provenance))
    yield from ("", "## Jobs", "", _jobs(page))


def _preset(preset: PresetRun) -> Iterator[str]:
    yield from ("", f"After {markdown_text(preset.paper)}. {markdown_text(preset.text)}", "")
    yield from _list((*preset.caveats, *([preset.measured] if preset.measured else [])))
    yield from ("", markdown_text(preset.provenance))
    yield from _list(preset.change_log())


def _confounds(page: Page) -> Iterator[str]:
    if page.open_confounds:
        yield "Explained by nothing that the study declares, so that no ranking is given:"
        yield ""
        yield from (*_list(page.open_confounds), "")
    if page.declared:
        yield from ("Acknowledged differences:", "", *_list(page.declared), "")
    if page.consequences:
        yield from ("As a consequence of what the study declares:", "", *_list(page.consequences))
    elif not page.open_confounds and not page.declared:
        yield "Nothing."


def _figures(figures: Iterable[FigureInfo], pictures: Mapping[str, str]) -> Iterator[str]:
    for one in figures:
        title = markdown_text(one.title)
        if one.missing_reason is not None:
            yield f"- {title}: not there; {one.missing_reason}"
        elif one.name in pictures:
            yield f"![{title}](<{pictures[one.name]}>)"
        else:
            yield f"- {title}: in the HTML report"
        yield ""


def _jobs(page: Page) -> str:
    table = to_markdown(
        Table((*page.jobs.header, "MLflow"), tuple((*row, "") for row in page.jobs.rows))
    )
    head, rows = table.splitlines()[:2], table.splitlines()[2:]
    linked = (
        row.removesuffix("  |") + (f" [{link.words}](<{link.url}>) |" if link else "  |")
        for row, link in zip(rows, page.job_links, strict=True)
    )
    return "\n".join((*head, *linked))


def _list(items: Iterable[str]) -> Iterator[str]:
    return (f"- {markdown_text(item)}" for item in items)
