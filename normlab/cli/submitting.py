"""`validate`, `plan`, `submit`: a spec on its way to the service."""

import json
from pathlib import Path
from typing import Annotated

import typer

from normlab.cli import following
from normlab.cli.output import Column, Format, Output, emit, field, say
from normlab.client import Client
from normlab.errors import NormlabError, Refused
from normlab.references import Reference

File = Annotated[Path, typer.Argument(help="a job or a study, YAML or JSON; - reads it from stdin")]


def validate(
    files: Annotated[
        list[Path],
        typer.Argument(help="jobs or studies, YAML or JSON; folders of them; - reads from stdin"),
    ],
) -> None:
    """Check specs, also against their datasets and the networks they describe; nothing is created.

    The exit status is 0 only if all of them are valid.
    """
    specs, refused = _specs(files), 0
    with Client() as client:
        for file in specs:
            try:
                found = client.plan(_document(file))
            except Refused as error:
                if len(specs) == 1:
                    raise
                refused += 1
                typer.echo(f"{file}: {error}", err=True)
                continue
            for warning in found["warnings"]:
                typer.echo(f"{file}: warning: {warning}", err=True)
            then = f" of tuning, then {_jobs(found['then'])}" if found.get("then") else ""
            say(f"{file} is a valid {found['kind']}: {_jobs(found['count'])}{then}")
    if len(specs) > 1:
        say(f"{len(specs) - refused} of {len(specs)} are valid")
    if refused:
        raise typer.Exit(1)


def _specs(files: list[Path]) -> list[Path]:
    """The files, and those in the folders, in order of their names."""
    found: list[Path] = []
    for file in files:
        if file.is_dir():
            inside = sorted(p for p in file.iterdir() if p.suffix in (".yaml", ".yml", ".json"))
            if not inside:
                raise NormlabError(f"{file} holds no .yaml, .yml or .json file")
            found += inside
        else:
            found.append(file)
    return found


def plan(file: File, output: Output = Format.TABLE) -> None:
    """List the jobs that a spec would become; nothing is created."""
    with Client() as client:
        found = client.plan(_document(file))
    if output is Format.JSON:
        say(json.dumps(found, indent=2))
        return
    emit(found["cells"], _CELLS, output, "no cells")
    if output is Format.TABLE:
        say()
        for name, count in found.get("parameters", {}).items():
            say(f"{name or 'the model'}: {count:,} parameters")
        for warning in found["warnings"]:
            typer.echo(f"warning: {warning}", err=True)
        then = f" of tuning, then {_jobs(found['then'])}" if found.get("then") else ""
        say(f"{_jobs(found['count'])}{then}; submit it with: normlab submit {file}")


def submit(
    file: File,
    wait: Annotated[bool, typer.Option("--wait", "-w", help="stay until it has ended")] = False,
) -> None:
    """Submit a job or a study. With --wait the exit status is 0 only if it succeeded."""
    with Client() as client:
        reference = client.submit(_document(file))
        show_accepted(client, reference)
        if wait:
            raise typer.Exit(following.follow_to_the_end(client, [reference]))


def show_accepted(client: Client, reference: Reference) -> None:
    """What was accepted, in a sentence, with the service's warnings."""
    item = client.show(reference)
    count = sum(item["counts"].values()) if reference.kind == "study" else 1
    jobs = f", {_jobs(count)}" if reference.kind == "study" else ""
    say(f"Accepted {reference.kind} {reference}: {item['name']}{jobs}")
    for warning in item.get("warnings", []):
        typer.echo(f"warning: {warning}", err=True)


def _document(file: Path) -> Path | str:
    # The new line tells text from a file name.
    return typer.get_text_stream("stdin").read() + "\n" if str(file) == "-" else file


def _jobs(count: int) -> str:
    return "1 job" if count == 1 else f"{count} jobs"


_CELLS = (
    Column("name", field("name")),
    Column("variant", field("variant")),
    Column("point", lambda cell: ", ".join(f"{k}={v}" for k, v in cell["point"].items())),
    Column("seed", field("seed"), right=True),
)
