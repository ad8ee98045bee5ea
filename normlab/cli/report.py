"""The verbs that write files: `report`, a study as one document, and `download`."""

import sys
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from normlab.cli.render import BEST, Patience, say, say_how_to_load
from normlab.cli.show import Named, jobs_of
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
        # Bytes, not text: what stands in a pipe or file must be the document that the service sent.
        sys.stdout.buffer.write(content)
        sys.stdout.buffer.flush()
        return
    try:
        out.write_bytes(content)
    except OSError as error:
        raise NormlabError(f"{out} cannot be written: {error.strerror}") from error
    say(f"The report of {study} is in {out}")


def download(
    name: Named,
    to: Annotated[Path | None, typer.Option("--to", help="target folder; default: ./ID")] = None,
    weights: Annotated[bool, typer.Option(help="also download the best checkpoint")] = False,
) -> None:
    """Download the files of a job, or of all jobs of a study."""
    with Client() as client:
        reference = Reference.parse(name)
        folder = to or Path(str(reference))
        count = 0
        best: list[tuple[Reference, Path]] = []
        for job in jobs_of(client, reference):
            target = folder / str(job) if reference.kind == "study" else folder
            for file in client.part(job, "files"):
                client.download(job, file["name"], _inside(target, file["name"]))
                count += 1
            if weights and _download_best(client, job, target):
                count += 1
                best.append((job, target / BEST))
    say(f"{count} files in {folder}" if count else f"{reference} has no files")
    if best:
        say_how_to_load(*best[0])


def _download_best(client: Client, job: Reference, target: Path) -> bool:
    """False where the job has no best checkpoint."""
    best = [row for row in client.part(job, "checkpoints") if row["kind"] == "best"]
    if not best:
        return False
    newest = max(best, key=lambda row: int(row["id"]))
    client.download_path(f"{job.path}/checkpoints/{newest['id']}", target / BEST)
    return True


def _inside(folder: Path, name: str) -> Path:
    """The path of a file named by the service, which must be inside the folder."""
    # The name comes from the service. Were it `../.bashrc`, or lead through a link out of the folder, a download
    # would overwrite a file of the person's.
    target = (folder / name).resolve()
    if not target.is_relative_to(folder.resolve()):
        raise NormlabError(f"the file name {name!r} is outside of {folder}")
    return target
