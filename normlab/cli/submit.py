"""The verbs from a spec to a study: `init`, `validate`, `plan`, `submit`; and `mcp`, which serves an agent.

`plan` and `show` print warnings in full; `validate` and `submit` print their number.
"""

import json
import os
import sys
from importlib import resources
from pathlib import Path
from typing import Annotated

import typer

from normlab.cli import watch
from normlab.cli.render import (
    CELLS,
    Format,
    Item,
    Output,
    bill_lines,
    emit,
    say,
    say_paragraph,
    show_plan,
    trials_of,
)
from normlab.client import Client, Reference
from normlab.errors import NormlabError, Refused, Unreadable

File = Annotated[Path, typer.Argument(help="a job or a study, YAML or JSON; - reads it from stdin")]
Settings = Annotated[
    list[str] | None,
    typer.Option(
        "--set",
        metavar="PATH=VALUE",
        help="set a value of the document first, such as base.optimizer.lr=0.01; repeatable",
    ),
]


def validate(
    files: Annotated[
        list[Path],
        typer.Argument(help="jobs or studies, YAML or JSON; folders of them; - reads from stdin"),
    ],
    settings: Settings = None,
) -> None:
    """Check specs, also against their datasets and the networks they describe; nothing is created.

    The exit status is 0 only if all of them are valid.
    """
    specs, refused = _specs(files), 0
    with Client() as client:
        for file in specs:
            try:
                found = client.plan(_document(file), settings=settings or ())
            except (Refused, Unreadable) as error:
                # Of a single file the error is the command's own; of several each is named, and the others are
                # still checked.
                if len(specs) == 1:
                    raise
                refused += 1
                typer.echo(str(error), err=True)
                continue
            jobs = _jobs(found["count"])
            if found["then"]:
                jobs = f"{trials_of(found)}, then {_jobs(found['then'])}"
            say(f"{file} is a valid {found['kind']}: {jobs}")
            _count_warnings(found["warnings"], f"normlab plan {file}")
    if len(specs) > 1:
        say(f"{len(specs) - refused} of {len(specs)} are valid")
    if refused:
        raise typer.Exit(1)


def plan(
    files: Annotated[
        list[Path],
        typer.Argument(help="jobs or studies, YAML or JSON; folders of them; - reads from stdin"),
    ],
    settings: Settings = None,
    output: Output = Format.TABLE,
) -> None:
    """Show what a spec would train: jobs, images, steps, time, and whether a verdict is possible.

    Nothing is created. `-o csv` lists every job.
    """
    specs = _specs(files)
    with Client() as client:
        plans = [client.plan(_document(file), settings=settings or ()) for file in specs]
    if output is Format.JSON:
        say(json.dumps(plans[0] if len(plans) == 1 else plans, indent=2))
        return
    if output is Format.CSV:
        emit([cell for one in plans for cell in one["cells"]], CELLS, output, "no cells")
        return
    for number, (file, found) in enumerate(zip(specs, plans, strict=True)):
        if number:
            say()
        show_plan(found, str(file), settings or ())


Fresh = Annotated[
    bool,
    typer.Option(
        "--fresh",
        help="train every job; by default, a job reuses the results of an identical job that has succeeded",
    ),
]


def submit(
    file: File,
    settings: Settings = None,
    fresh: Fresh = False,
    yes: Annotated[
        bool, typer.Option("--yes", "-y", help="submit without asking, whatever the bill")
    ] = False,
    wait: Annotated[bool, typer.Option("--wait", "-w", help="wait until it has ended")] = False,
) -> None:
    """Submit a job or a study. With --wait the exit status is 0 only if it succeeded.

    If the bill that `plan` shows exceeds 4 hours of device time, it asks for confirmation first; NORMLAB_ASK_ABOVE_MINUTES
    sets another limit.
    """
    with Client() as client:
        if str(file) != "-" and not yes:
            _ask(client.plan(file, settings=settings or (), fresh=fresh)["bill"])
        reference, item = client.accept(_document(file), settings=settings or (), fresh=fresh)
        show_accepted(client, reference, item)
        if wait:
            raise typer.Exit(watch.follow_to_the_end(client, [reference]))


def _ask(bill: Item) -> None:
    """Raises NormlabError where nobody can answer, and Exit where somebody says no."""
    minutes = _minutes_without_asking()
    if (bill["device_seconds"] or 0.0) <= minutes * 60:
        return
    for line in bill_lines(bill):
        say_paragraph(line)
    if not sys.stdin.isatty():
        raise NormlabError(
            f"this exceeds the {minutes:g} device-minutes that are submitted without confirmation: "
            "add --yes, or set NORMLAB_ASK_ABOVE_MINUTES"
        )
    typer.confirm("Submit it?", abort=True)


def _minutes_without_asking() -> float:
    text = os.environ.get("NORMLAB_ASK_ABOVE_MINUTES", "240")
    try:
        return float(text)
    except ValueError:
        raise NormlabError(
            f"NORMLAB_ASK_ABOVE_MINUTES must be a number of minutes but is {text!r}"
        ) from None


def show_accepted(client: Client, reference: Reference, item: Item | None = None) -> None:
    """What was accepted, in a sentence, and what to know about it. `item`: the answer, if it is at hand."""
    item = item or client.show(reference)
    count = sum(item["counts"].values()) if reference.kind == "study" else 1
    jobs = f", {_jobs(count)}{_reused(item)}" if reference.kind == "study" else ""
    if item.get("reused_from"):
        jobs = f": it reuses the results of the identical job j{item['reused_from']}"
    say(f"Accepted {reference.kind} {reference}: {item['name']}{jobs}")
    _count_warnings(item.get("warnings", []), f"normlab show {reference}")
    for note in item.get("notes", []):
        say(note)
    for same in item.get("same_as", [])[:1]:
        _offer_instead(client, Reference("study", same))


def _reused(study: Item) -> str:
    if not study.get("reused"):
        return ""
    reuse = "reuses" if study["reused"] == 1 else "reuse"
    return f", of which {study['reused']} {reuse} the results of identical jobs"


def _offer_instead(client: Client, earlier: Reference) -> None:
    counts = client.show(earlier)["counts"]
    say(f"  normlab extend {earlier} --seeds 4")
    if counts["failed"] or counts["cancelled"]:
        say(f"  normlab retry {earlier}{' --cancelled' if counts['cancelled'] else ''}")


def _count_warnings(warnings: list[str], command: str) -> None:
    if warnings:
        many = "1 warning" if len(warnings) == 1 else f"{len(warnings)} warnings"
        typer.echo(f"{many}: see {command}", err=True)


def _specs(files: list[Path]) -> list[Path]:
    """The files, and those in the folders, in order of their names."""
    found: list[Path] = []
    for file in files:
        if file.is_dir():
            inside = sorted(p for p in file.iterdir() if p.suffix in (".yaml", ".yml", ".json"))
            if not inside:
                raise NormlabError(f"{file} contains no .yaml, .yml or .json file")
            found += inside
        else:
            found.append(file)
    return found


def _document(file: Path) -> Path | str:
    # The new line tells text from a file name.
    return typer.get_text_stream("stdin").read() + "\n" if str(file) == "-" else file


def _jobs(count: int) -> str:
    return "1 job" if count == 1 else f"{count} jobs"


def init(
    file: Annotated[Path, typer.Argument(help="output file")] = Path("study.yaml"),
    force: Annotated[bool, typer.Option("--force", help="replace an existing file")] = False,
) -> None:
    """Write a commented study to start from."""
    template = (resources.files("normlab") / "template.yaml").read_text(encoding="utf-8")
    try:
        with file.open("w" if force else "x", encoding="utf-8") as target:
            target.write(template)
    except FileExistsError:
        raise NormlabError(f"{file} exists already; --force replaces it") from None
    except OSError as error:
        raise NormlabError(f"{file} cannot be written: {error.strerror}") from error
    say(f"{file} is a commented study: edit it, then see what it would train with")
    say(f"  normlab plan {file}")


def mcp(
    budget: Annotated[
        float,
        typer.Option(
            metavar="MINUTES",
            min=0,
            help="device-minutes that the agent may use in this session, by the bills of `plan`; 0: it only reads",
        ),
    ] = 0.0,
) -> None:
    """Serve an agent by the Model Context Protocol (MCP), on stdin and stdout.

    The agent's program starts this command, with NORMLAB_URL and NORMLAB_TOKEN in its environment.

    The agent plans, waits and reads verdicts; with a budget it also submits.
    A job without comparable finished jobs counts with its `resources.timeout`,
    an hour unless set. A token made by `token create --read-only` allows no
    change.
    """
    try:
        from normlab.agents import make_server
    except ModuleNotFoundError as error:
        raise NormlabError(
            f"the package {error.name} is missing: pip install 'normlab[mcp]' installs it"
        ) from None
    with Client() as client:
        make_server(client, budget).run()
