"""The files and the weights of jobs."""

import json
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any, TypeAlias
from urllib.parse import quote

from normlab.client import Client, outlast_outage
from normlab.errors import NormlabError, Refused
from normlab.exporting.conversion import ConversionFailed, Converter
from normlab.exporting.documents import folder_of_job
from normlab.exporting.folder import ExportFolder, Progress, digests_of
from normlab.exporting.records import Records

Item: TypeAlias = dict[str, Any]


class Damaged(NormlabError):
    """What arrived is not what the service has recorded."""


class Gone(NormlabError):
    """The service has deleted it since it was listed."""


def export_files(client: Client, folder: ExportFolder, records: Records, progress: Progress) -> int:
    """As they are, below `jobs/j12/files`; returns how many were not there already."""
    progress.begin("files", sum(len(parts["files"]) for _, parts in records))
    fetched = 0
    for job, parts in records:
        for row in parts["files"]:
            name = f"{folder_of_job(job)}/files/{row['name']}"
            fetch = partial(_fetch, client, job, "files", row)
            fetched += _receive(folder, name, row["digest"], fetch)
            progress.advance()
    return fetched


def export_checkpoints(
    client: Client,
    folder: ExportFolder,
    records: Records,
    converter: Converter,
    progress: Progress,
) -> int:
    """The newest `best` and `last` of each job as safetensors; returns how many were not there already."""
    progress.begin("checkpoints", sum(len(list(_newest(parts))) for _, parts in records))
    fetched = 0
    for job, parts in records:
        for row in _newest(parts):

            def make(target: Path, job: Item = job, row: Item = row) -> None:
                original = target.with_name(f"{row['kind']}.pt.part")
                try:
                    _fetch(client, job, "checkpoints", row, original)
                    converter.convert(original, target, _describe(job, row))
                finally:
                    original.unlink(missing_ok=True)

            name = f"{folder_of_job(job)}/{row['kind']}.safetensors"
            fetched += _receive(folder, name, row["digest"], make)
            progress.advance()
    return fetched


def _newest(parts: Mapping[str, list[Item]]) -> Iterator[Item]:
    for kind in ("best", "last"):
        rows = [row for row in parts["checkpoints"] if row["kind"] == kind]
        if rows:
            yield max(rows, key=lambda row: int(row["id"]))


def _receive(folder: ExportFolder, name: str, digest: str, make: Callable[[Path], object]) -> bool:
    try:
        return folder.receive(name, digest, make)
    except Gone:
        return False
    except (ConversionFailed, Damaged, Refused) as error:
        folder.problems.append(f"{name}: {error}")
        return False


def _fetch(client: Client, job: Item, part: str, row: Item, target: Path) -> None:
    """Raises Damaged, Gone, or Refused where the service has a row of it and no file."""
    name = row["id"] if part == "checkpoints" else quote(row["name"])
    path = f"jobs/{job['id']}/{part}/{name}"
    try:
        outlast_outage(partial(client.download_path, path, target))
    except Refused as error:
        if error.status == 404 and not _is_listed(client, job, part, row):
            raise Gone("it has been deleted meanwhile") from None
        raise
    if digests_of(target).service != row["digest"]:
        raise Damaged("it is not what was recorded: its digest is another one")


def _is_listed(client: Client, job: Item, part: str, row: Item) -> bool:
    try:
        return any(listed["digest"] == row["digest"] for listed in client.part(job["id"], part))
    except Refused as error:
        # The whole job has been deleted.
        if error.status == 404:
            return False
        raise


def _describe(job: Item, row: Item) -> dict[str, str]:
    """The metadata of its safetensors file."""
    return {
        "normlab.job": f"j{job['id']}",
        "normlab.name": job["name"],
        "normlab.checkpoint": row["kind"],
        "normlab.epoch": str(row["epoch"]),
        "normlab.step": str(row["step"]),
        "normlab.digest": row["digest"],
        "normlab.spec": json.dumps(job["spec"]),
        "normlab.metrics": json.dumps(job["metrics"]),
        "normlab.non_finite": json.dumps(job["non_finite"]),
    }
