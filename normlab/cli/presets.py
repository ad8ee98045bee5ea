"""The verbs `preset list|show|run|all`, and `catalog`: the options of a spec."""

import json
import re
from collections.abc import Iterator, Mapping
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer

from normlab.cli import watch
from normlab.cli.render import (
    Column,
    Format,
    Item,
    Output,
    emit,
    field,
    find_others,
    say,
    say_paragraph,
    show_claims,
    start_all,
    write_markdown,
    write_pages,
)
from normlab.cli.submit import Fresh, show_accepted
from normlab.client import Client
from normlab.errors import NormlabError

app = typer.Typer(
    no_args_is_help=True,
    help="Presets: studies that reproduce results of the literature and check their claims: list, show, run, all.",
)


class Scale(StrEnum):
    """toy: seconds, without verdicts; small: minutes on a laptop; medium: real images or more seeds, up to hours on a
    laptop; full: the paper's own setting."""

    TOY = "toy"
    SMALL = "small"
    MEDIUM = "medium"
    FULL = "full"


Name = Annotated[str, typer.Argument(help="name of a preset (see `normlab preset list`)")]
Size = Annotated[
    Scale,
    typer.Option(
        help="toy: seconds; small: minutes on a laptop; medium: real images or more seeds, up to hours on a laptop; full: the paper's"
    ),
]
On = Annotated[str | None, typer.Option(help="dataset; default: the scale's first")]


@app.command("list")
def list_(output: Output = Format.TABLE) -> None:
    """List the presets: what each reproduces, and on which data."""
    with Client() as client:
        emit(client.presets(), _COLUMNS, output, "no presets")


@app.command()
def show(
    name: Name, scale: Size = Scale.SMALL, dataset: On = None, output: Output = Format.TABLE
) -> None:
    """Show a preset: paper, claims, caveats, runs (-o json: with the study it would submit)."""
    with Client() as client:
        found = client.preset(name, scale=scale.value, dataset=dataset)
        runs = client.items(f"presets/{name}/runs", most=20)
    if output is not Format.TABLE:
        say(json.dumps(found, indent=2, ensure_ascii=False))
        return
    say(f"{found['name']}: {found['title']}")
    say()
    say_paragraph(found["text"])
    say_paragraph(f"After {found['paper']}.")
    say()
    for claim in found["study"].get("claims", []):
        paper = f" (reported before: {claim['paper']})" if claim.get("paper") else ""
        say_paragraph(f"- {claim['name']}: {claim['says']}{paper}")
    for caveat in (*found["caveats"], *([found["measured"]] if found["measured"] else [])):
        say_paragraph(f"- note: {caveat}")
    say()
    for one in found["scales"]:
        say_paragraph(
            f"{one['scale']}: {one['cells']} trainings on {' or '.join(one['datasets'])}; {one['takes']}"
        )
    for line in _digest(found).splitlines():
        say_paragraph(line)
    for run in runs:
        verdicts = ", ".join(f"{one['claim']}: {one['verdict']}" for one in run["verdicts"])
        study = run["study"]
        version = "" if run["digest"] == found["digest"] else ", an earlier version"
        seeds = ", on other seeds" if run["own_seeds"] else ""
        about = f"{run['scale']}, {run['dataset']}, {study['status']}{seeds}{version}"
        say_paragraph(f"s{study['id']} ({about}): {verdicts or 'no verdicts yet'}")
    say()
    data = f" --dataset {dataset}" if dataset is not None else ""
    say(f"run it with: normlab preset run {name} --scale {scale.value}{data} --wait")


@app.command()
def run(
    name: Name,
    scale: Size = Scale.SMALL,
    dataset: On = None,
    project: Annotated[str | None, typer.Option(help="default: presets")] = None,
    seeds: Annotated[
        int | None,
        typer.Option(
            min=1, help="number of seeds, if not the preset's; fewer than 8 give no verdicts"
        ),
    ] = None,
    fresh: Fresh = False,
    wait: Annotated[
        bool, typer.Option("--wait", "-w", help="wait until it has ended, and print the verdicts")
    ] = False,
) -> None:
    """Submit a preset's study. With --wait, the exit status is 0 if all jobs succeeded."""
    wanted: dict[str, Any] = {"dataset": dataset, "project": project, "seeds": seeds}
    given = {key: value for key, value in wanted.items() if value is not None}
    with Client() as client:
        reference = client.run_preset(name, fresh=fresh, scale=scale.value, **given)
        show_accepted(client, reference)
        if not wait:
            say(f"once it has ended, see its verdicts with: normlab compare {reference}")
            return
        code = watch.follow_to_the_end(client, [reference])
        say()
        show_claims(client.verdicts(reference))
        say(f"full report with the figure: normlab report {reference} > report.html")
        raise typer.Exit(code)


@app.command("all")
def run_all(
    scale: Size = Scale.SMALL,
    out: Annotated[
        Path, typer.Option(help="output folder for index.html, reports and figures")
    ] = Path("presets"),
    markdown: Annotated[
        Path | None,
        typer.Option(
            help="also write the page as Markdown, with the figures in --out; in an existing page, "
            "the sections of other presets and scales are kept"
        ),
    ] = None,
) -> None:
    """Run all presets of a scale that have not run yet, and write one page of all figures and verdicts.

    It can be interrupted and restarted. The exit status is 0 if all jobs of all studies succeeded.
    """
    with Client() as client:
        studies = start_all(client, scale.value) | find_others(client, scale.value)
        code = watch.follow_to_the_end(client, list(studies.values()))
        say()
        entries = write_pages(client, studies, out)
        for entry in entries:
            verdicts = ", ".join(f"{one['name']}: {one['verdict']}" for one in entry.verdicts)
            say(f"{entry.name}: {verdicts}")
    if markdown is not None:
        write_markdown(entries, markdown, out)
    say(f"The page is {out / 'index.html'}")
    raise typer.Exit(code)


def _digest(found: Item) -> str:
    if found["first_run"] is None:
        return f"digest {found['digest']}; it has not been run yet"
    if not found["changes"]:
        return f"digest {found['digest']}; unchanged since its first run"
    told = "".join(f"\n- {one['what']}: {one['why']}" for one in found["changes"])
    return f"digest {found['digest']}; changed since its first run ({found['first_run']}):{told}"


_COLUMNS = (
    Column("preset", field("name")),
    Column("what it asks", field("title")),
    Column("claims", lambda one: str(len(one["claims"])), right=True),
    Column("scales", lambda one: ", ".join(scale["scale"] for scale in one["scales"])),
    Column(
        "data at small scale",
        lambda one: ", ".join(
            name
            for scale in one["scales"]
            if scale["scale"] == "small"
            for name in scale["datasets"]
        ),
    ),
)


def _first_sentence(text: str) -> str:
    """Names of authors may be followed by `et al.`, which ends no sentence."""
    return re.split(r"(?<!al)\. ", text, maxsplit=1)[0].rstrip(".")


_CHOICES = (
    Column("section", field("section")),
    Column("kind", field("kind")),
    Column("paper", lambda one: "; ".join(one["papers"])),
    Column("what it is", lambda one: _first_sentence(one["description"])),
)


def catalog(
    section: Annotated[
        str | None, typer.Argument(help="norms, regularizers, models, …; default: all")
    ] = None,
    kind: Annotated[
        str | None, typer.Argument(help="one entry, with its options and pitfalls")
    ] = None,
    output: Output = Format.TABLE,
) -> None:
    """List what a spec can choose from, with options, papers and pitfalls."""
    with Client() as client:
        found = client.get("catalog")
    chosen = _chosen(found, section, kind)
    if output is Format.JSON:
        say(json.dumps(chosen, indent=2))
    elif kind is not None and output is Format.TABLE:
        for one in chosen:
            _describe(one)
    else:
        emit(chosen, _CHOICES, output, "nothing")


def _chosen(
    found: Mapping[str, list[dict[str, Any]]], section: str | None, kind: str | None
) -> list[dict[str, Any]]:
    if section is not None and section not in found:
        raise NormlabError(f"there is no section {section!r}; choose one of {', '.join(found)}")
    named = [
        {"section": name, **one}
        for name, choices in found.items()
        if section in (None, name)
        for one in choices
    ]
    chosen = [one for one in named if kind in (None, one["kind"])]
    if not chosen and kind is not None:
        kinds = ", ".join(one["kind"] for one in named)
        raise NormlabError(f"{section} has no {kind!r}; choose one of {kinds}")
    return chosen


def _describe(choice: Mapping[str, Any]) -> None:
    say_paragraph(f"{choice['kind']}: {choice['description']}")
    for line in _options(choice["options"]):
        say(f"  {line}")
    for options, layouts in (choice["layouts"] or {}).items():
        named = "" if options == "all options" else f" ({options})"
        defined = [layout for layout, reason in layouts.items() if reason is None]
        say(f"  defined on{named}: {'  '.join(defined)}")
        for layout, reason in layouts.items():
            if reason is not None:
                say_paragraph(f"  not on {layout}: {reason}")
    for pitfall in choice["pitfalls"]:
        say_paragraph(f"  Note: {pitfall}")


def _options(schema: Mapping[str, Any]) -> Iterator[str]:
    for name, option in schema["properties"].items():
        if name == "kind":
            continue
        default = f" = {json.dumps(option['default'])}" if "default" in option else ""
        values = option.get("enum")
        choices = f" ({' | '.join(map(str, values))})" if values else ""
        described = f": {option['description']}" if "description" in option else ""
        yield f"{name}{default}{choices}{described}"
