"""Runs of all presets, and the index page of their figures and verdicts.

It can be interrupted and restarted: a preset whose study of the same digest has ended or is running is not
submitted again. Runs on other datasets than a preset's first are shown too.
"""

import html
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from normlab.cli.render.output import Item, say
from normlab.client import Client, Reference
from normlab.errors import NormlabError

FIGURE = "figure"


@dataclass(frozen=True, slots=True)
class Entry:
    """A preset, the study that ran it, its verdicts, and whether it has a figure; `name` is of its files."""

    name: str
    preset: Item
    study: Item
    verdicts: Sequence[Item]
    has_figure: bool


def start_all(client: Client, scale: str) -> dict[str, Reference]:
    """By preset its study of this scale on the default data: one that there is, or a new one."""
    studies = {}
    for preset, size in _of_scale(client, scale):
        name = _entry_name(preset["name"], scale)
        if (earlier := _known_run(client, preset, size, size["datasets"][0])) is not None:
            studies[name] = earlier
            say(f"{name}: already run as {earlier}")
            continue
        studies[name] = client.run_preset(preset["name"], scale=scale)
        say(f"{name}: submitted as {studies[name]}")
    return studies


def find_others(client: Client, scale: str) -> dict[str, Reference]:
    """By preset and dataset the studies that there are on other than the default data."""
    studies = {}
    for preset, size in _of_scale(client, scale):
        name = _entry_name(preset["name"], scale)
        for dataset in size["datasets"][1:]:
            if (earlier := _known_run(client, preset, size, dataset)) is not None:
                studies[f"{name}-{dataset}"] = earlier
                say(f"{name} on {dataset}: already run as {earlier}")
    return studies


def _entry_name(preset: str, scale: str) -> str:
    return preset if scale != "medium" else f"{preset}-medium"


def _of_scale(client: Client, scale: str) -> Iterator[tuple[Item, Item]]:
    """The presets that have it, with what it is."""
    for preset in client.presets():
        for size in preset["scales"]:
            if size["scale"] == scale:
                yield preset, size


def _known_run(client: Client, preset: Item, size: Item, dataset: str) -> Reference | None:
    wanted = (size["scale"], dataset, size["digest"])
    for run in client.items(f"presets/{preset['name']}/runs"):
        is_same = (run["scale"], run["dataset"], run["digest"]) == wanted
        is_whole = not run["own_seeds"] and run["study"]["status"] not in ("cancelled", "partial")
        if is_same and is_whole:
            return Reference("study", run["study"]["id"])
    return None


def write_pages(client: Client, studies: dict[str, Reference], folder: Path) -> list[Entry]:
    """`index.html`, and for each study its report and its figure."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        entries = [_write(client, name, reference, folder) for name, reference in studies.items()]
        entries.sort(key=lambda entry: entry.name)
        (folder / "index.html").write_text("\n".join(_index(entries)))
    except OSError as error:
        raise NormlabError(f"{folder} cannot be written: {error.strerror}") from error
    return entries


def _write(client: Client, name: str, reference: Reference, folder: Path) -> Entry:
    (folder / f"{name}.html").write_bytes(client.report(reference))
    figures = client.get(f"{reference.path}/report", format="json")["figures"]
    has_figure = any(
        figure["name"] == FIGURE and figure["missing_reason"] is None for figure in figures
    )
    if has_figure:
        (folder / f"{name}.png").write_bytes(client.figure(reference, FIGURE))
    study = client.show(reference)
    ran = study["preset"]
    preset = client.preset(ran["name"], scale=ran["scale"], dataset=ran["dataset"])
    return Entry(name, preset, study, client.verdicts(reference), has_figure)


def write_markdown(entries: Sequence[Entry], file: Path, figures: Path) -> None:
    """The same as Markdown; the figures that lie in a folder beside it are shown. Sections of a page that is there
    stay, with their lines of its table, unless they are among the entries."""
    try:
        sections = _read_sections(file.read_text()) if file.exists() else {}
        for entry in entries:
            text = "\n".join(_markdown_section(entry, figures.name))
            sections[entry.name] = _Section(_markdown_row(entry), text)
        file.write_text("\n".join(_markdown(sections)) + "\n")
    except OSError as error:
        raise NormlabError(f"{file} cannot be written: {error.strerror}") from error


@dataclass(frozen=True, slots=True)
class _Section:
    """Of the Markdown page: a preset's line of the table, and its text."""

    row: str
    text: str


def _read_sections(page: str) -> dict[str, _Section]:
    """By name, of a page that `write_markdown` wrote."""
    head, *texts = page.rstrip("\n").split("\n\n## ")
    rows = {
        line.partition("](#")[2].partition(")")[0]: line
        for line in head.splitlines()
        if "](#" in line
    }
    named = {text.partition("\n")[0]: f"\n## {text}" for text in texts}
    return {name: _Section(rows[name], text) for name, text in named.items() if name in rows}


def _markdown(sections: Mapping[str, _Section]) -> Iterator[str]:
    yield "# Results of the literature, tried here"
    yield ""
    yield (
        "Written by `normlab preset all`. A claim *holds*, *does not hold* (the opposite is so), is *equivalent* "
        "(within the margin that it states) or is *undecided*: by paired tests over seeds, with Holm's correction "
        "over the claims of a preset."
    )
    yield ""
    yield "| lecture | preset | verdicts |"
    yield "| --- | --- | --- |"
    ordered = [sections[name] for name in sorted(sections)]
    yield from (section.row for section in ordered)
    yield from (section.text for section in ordered)


def _markdown_row(entry: Entry) -> str:
    verdicts = "; ".join(f"{claim['name']}: {claim['verdict']}" for claim in entry.verdicts)
    return f"| {_cell(entry.preset['topic'])} | [{entry.name}](#{entry.name}) | {verdicts} |"


def _markdown_section(entry: Entry, figures: str) -> Iterator[str]:
    preset, study = entry.preset, entry.study
    ran = study["preset"]
    yield f"\n## {entry.name}\n"
    yield f"**{preset['title']}** Lecture: {preset['topic']}. After {preset['paper']}.\n"
    yield f"{preset['text']}\n"
    if entry.has_figure:
        yield f"![{preset['title']}]({figures}/{entry.name}.png)\n"
    yield (
        f"Run s{study['id']} at scale {ran['scale']} on {ran['dataset']}, {len(study['planned_seeds'])} seeds, "
        f"digest {ran['digest']}.\n"
    )
    if ran["scale"] == "medium":
        [takes] = (size["takes"] for size in preset["scales"] if size["scale"] == "medium")
        yield f"Scale medium: {_cell(takes)}.\n"
    if preset["changes"]:
        yield f"It first ran as {preset['first_run']}, and was changed since:\n"
        for change in preset["changes"]:
            yield f"- {_cell(change['what'])}: {_cell(change['why'])} (digest {change['digest']})."
        yield ""
    yield "| claim | verdict | here | reported before |"
    yield "| --- | --- | --- | --- |"
    for claim in entry.verdicts:
        cells = (claim["says"], f"**{claim['verdict']}**", claim["sentence"], claim["paper"] or "–")
        yield f"| {' | '.join(map(_cell, cells))} |"
    yield ""
    for caveat in filter(None, (*preset["caveats"], preset["measured"])):
        yield f"- {' '.join(caveat.split())}"


def _cell(words: str) -> str:
    return " ".join(str(words).split()).replace("|", "\\|")


def _index(entries: Sequence[Entry]) -> Iterator[str]:
    yield _HEAD
    yield "<table><thead><tr><th>preset</th><th>claim</th><th>verdict</th></tr></thead><tbody>"
    for entry in entries:
        for number, claim in enumerate(entry.verdicts):
            link = f'<a href="#{entry.name}">{entry.name}</a>' if not number else ""
            verdict = claim["verdict"]
            yield (
                f"<tr><td>{link}</td><td>{_text(claim['says'])}</td>"
                f'<td class="{verdict.replace(" ", "-")}">{verdict}</td></tr>'
            )
    yield "</tbody></table>"
    for entry in entries:
        yield from _section(entry)
    yield "</body></html>"


def _section(entry: Entry) -> Iterator[str]:
    preset, study = entry.preset, entry.study
    yield f'<section id="{entry.name}"><h2>{_text(preset["title"])}</h2>'
    yield (
        f"<p>{_text(preset['text'])} After {_text(preset['paper'])}. "
        f'<a href="{entry.name}.html">The report</a> of study s{study["id"]}, which is '
        f"{study['status']}; {_text(study['preset']['dataset'])}, digest {study['preset']['digest']}.</p>"
    )
    if entry.has_figure:
        yield f'<img src="{entry.name}.png" alt="{_text(preset["title"])}">'
    for change in preset["changes"]:
        yield f"<p>Changed since its first run: {_text(change['what'])}, because {_text(change['why'])}.</p>"
    yield "<ul>"
    for claim in entry.verdicts:
        paper = f" Reported before: {_text(claim['paper'])}." if claim["paper"] else ""
        yield f"<li>{_text(claim['says'])}. <strong>{_text(claim['sentence'])}</strong>{paper}</li>"
    yield "</ul><ul>"
    for caveat in filter(None, (*preset["caveats"], preset["measured"])):
        yield f"<li>{_text(caveat)}</li>"
    yield "</ul></section>"


def _text(words: str) -> str:
    return html.escape(" ".join(str(words).split()))


_HEAD = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>Presets · Normlab</title>
<meta name="viewport" content="width=device-width, initial-scale=1">
<style>
body { font: 16px/1.5 system-ui, sans-serif; max-width: 70rem; margin: 2rem auto; padding: 0 1rem; color: #1a1a1a; }
table { border-collapse: collapse; } td, th { padding: .2rem .8rem .2rem 0; text-align: left; vertical-align: top; }
tbody tr { border-top: 1px solid #ddd; } img { max-width: 100%; }
.holds, .equivalent { color: #00694d; font-weight: 650; } .does-not-hold { color: #a94400; font-weight: 650; white-space: nowrap; }
section { border-top: 1px solid #bbb; margin-top: 2rem; }
</style></head><body>
<h1>Results of the literature, tried here</h1>"""
