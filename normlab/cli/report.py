"""The verbs that write files: `report`, a study as one document, `export` and `download`."""

import sys
import time
from collections.abc import Iterable, Iterator
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from normlab.cli.query import Query
from normlab.cli.render import BEST, ExportProgress, Patience, say, say_how_to_load, size
from normlab.cli.show import Named, jobs_of
from normlab.client import Client, Reference, exported_frame, inside, save
from normlab.errors import NormlabError

_EXAMPLES = """

\b
normlab export --study s2 --out s2.csv
normlab export 'norm.kind=group and created>=2026-11-01' > group.csv
normlab export --format parquet --out all.parquet
normlab export --everything results/

Query language: normlab query --help
"""


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


class ExportFormat(StrEnum):
    """The file formats of an export."""

    CSV = "csv"
    PARQUET = "parquet"


def export(
    text: Query = None,
    study: Annotated[str | None, typer.Option(help="only this study (s3)")] = None,
    format: Annotated[
        ExportFormat | None,
        typer.Option("--format", help="csv (default) or parquet (Apache Parquet)"),
    ] = None,
    out: Annotated[
        Path | None, typer.Option("--out", help="output file; default: standard output")
    ] = None,
    everything: Annotated[
        Path | None,
        typer.Option(
            "--everything",
            metavar="FOLDER",
            help="instead of one table, everything that you may read, in open formats: rows as Parquet, specs as YAML, "
            "files, and weights as safetensors; an interrupted export resumes when repeated. An admin's read-only token "
            "reads like a viewer's: private projects that don't list the admin are left out",
        ),
    ] = None,
    project: Annotated[
        str | None, typer.Option(help="with --everything: only this project's")
    ] = None,
    checkpoints: Annotated[
        bool,
        typer.Option("--checkpoints/--no-checkpoints", help="with --everything: include weights"),
    ] = True,
) -> None:
    """Export matching results as one table: a line per job, with its metrics and its spec."""
    number = None if study is None else Reference.study(study).id
    if everything is not None:
        if text is not None or format is not None or out is not None:
            raise NormlabError("--everything cannot be combined with QUERY, --format or --out")
        if number is not None and project is not None:
            raise NormlabError("--study cannot be combined with --project")
        _export_everything(everything, number, project, checkpoints=checkpoints)
        return
    if project is not None or not checkpoints:
        raise NormlabError("--project and --no-checkpoints require --everything")
    _export_table(text, number, format or ExportFormat.CSV, out)


export.__doc__ = (export.__doc__ or "") + _EXAMPLES


def _export_everything(
    folder: Path, study: int | None, project: str | None, *, checkpoints: bool
) -> None:
    from normlab.exporting import Selection, export_everything

    selection = Selection(study, project, checkpoints)
    try:
        with Client() as client, ExportProgress() as progress:
            exported = export_everything(client, folder, selection, progress)
    except OSError as error:
        raise NormlabError(
            f"{folder} cannot be written: {error.strerror}; repeat the command to resume"
        ) from error
    except KeyboardInterrupt:
        typer.echo(f"{folder} is incomplete: repeat the command to resume", err=True)
        raise
    rows = exported.rows
    counts = ", ".join(f"{name} {rows[name]}" for name in ("studies", "jobs", "epochs"))
    say(f"Exported to {folder}: {counts}; files and checkpoints fetched {exported.fetched}")
    say(f"{folder / 'README.md'} explains the contents")
    if exported.problems:
        for problem in exported.problems:
            typer.echo(problem, err=True)
        raise NormlabError(
            f"{len(exported.problems)} parts could not be exported; repeat the command to try them again"
        )


def _export_table(
    text: str | None, study: int | None, format: ExportFormat, out: Path | None
) -> None:
    if format is ExportFormat.PARQUET and out is None and sys.stdout.isatty():
        raise NormlabError(
            "Parquet is a binary format: write it to a file with --out results.parquet"
        )
    with Client() as client:
        kind = "csv" if format is ExportFormat.CSV else "jsonl"
        chunks = _watched(client.export(text, format=kind, study=study))
        try:
            _write(chunks, format, out)
        except OSError as error:
            if out is None:
                raise
            raise NormlabError(f"{out} cannot be written: {error.strerror}") from error
    if out is not None:
        typer.echo(f"wrote {out} ({size(out.stat().st_size)})", err=True)


def _write(chunks: Iterable[bytes], format: ExportFormat, out: Path | None) -> None:
    if format is ExportFormat.PARQUET:
        # Which type a column has is known once all rows are there, so that Parquet can't be written while they
        # come.
        content: bytes = exported_frame(chunks).to_parquet(None, index=False)
        chunks = [content]
    if out is not None:
        save(chunks, out)
        return
    for chunk in chunks:
        sys.stdout.buffer.write(chunk)
    sys.stdout.buffer.flush()


def _watched(chunks: Iterable[bytes]) -> Iterator[bytes]:
    """Says on stderr how far it is, every few seconds."""
    received, said = 0, time.monotonic()
    for chunk in chunks:
        yield chunk
        received += len(chunk)
        if time.monotonic() - said > 3:
            typer.echo(f"{size(received)} received", err=True)
            said = time.monotonic()


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
                client.download(job, file["name"], inside(target, file["name"]))
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
