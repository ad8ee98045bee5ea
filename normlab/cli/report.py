"""The verb `report`: a study's report as one document."""

import sys
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from normlab.cli.render import Patience, say
from normlab.client import Client, Reference
from normlab.errors import NormlabError


class ReportFormat(StrEnum):
    """As the service names them."""

    HTML = "html"
    JSON = "json"
    MARKDOWN = "markdown"


def report(
    name: Annotated[str, typer.Argument(help="a study (s3)", metavar="STUDY")],
    format: Annotated[
        ReportFormat, typer.Option("--format", help="html: one file with embedded figures")
    ] = ReportFormat.HTML,
    out: Annotated[
        Path | None,
        typer.Option(
            "--out",
            help="output file; default: standard output, or report-s3.html for HTML in a terminal",
        ),
    ] = None,
) -> None:
    """Write a study's report as one document: verdict, tables, figures, spec, digests, jobs."""
    study = Reference.study(name)
    with Client() as client, Patience("rendering the figures") as wait:
        content = client.report(study, format.value, on_wait=wait)
    if out is None and format is ReportFormat.HTML and sys.stdout.isatty():
        out = Path(f"report-{study}.html")
    if out is None:
        sys.stdout.buffer.write(content)
        sys.stdout.buffer.flush()
        return
    try:
        out.write_bytes(content)
    except OSError as error:
        raise NormlabError(f"{out} cannot be written: {error.strerror}") from error
    say(f"The report of {study} is in {out}")
