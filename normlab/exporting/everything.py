"""An export of everything: tables, documents, files and weights, one kind after the other."""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any, TypeAlias

from normlab.client import Client, Reference, exported_frame, outlast_outage
from normlab.errors import Refused
from normlab.exporting.content import export_checkpoints, export_files
from normlab.exporting.conversion import Converter
from normlab.exporting.documents import folder_of_job, folder_of_study, readme, spec_as_yaml
from normlab.exporting.folder import MANIFEST, ExportFolder, Progress
from normlab.exporting.records import Records, fetch_records
from normlab.exporting.tables import Rows, write_table

Item: TypeAlias = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Selection:
    """What is exported: all, or one study (its id), or one project."""

    study: int | None = None
    project: str | None = None
    checkpoints: bool = True


@dataclass(frozen=True, slots=True)
class Exported:
    """What an export holds now, and what is missing in it."""

    rows: Mapping[str, int]
    fetched: int
    problems: Sequence[str]


def export_everything(
    client: Client, root: Path, selection: Selection, progress: Progress
) -> Exported:
    """All that this token may read. Started again it goes on: what is there and has the right digest is not asked for
    again. What can't be exported is a problem of the result, and of the manifest."""
    with ExportFolder(root, client.url) as folder:
        # What is interrupted is no export yet, and must not look like the one before it.
        (root / MANIFEST).unlink(missing_ok=True)
        folder.write("README.md", readme())
        studies = _list_studies(client, selection)
        jobs = _list_jobs(client, selection)
        datasets, decoded = _list_datasets(client, selection, jobs)
        records = fetch_records(client, folder.parts, [*jobs, *decoded], progress)
        _write_documents(client, folder, studies, records.jobs, selection.project, progress)
        fetched = export_files(client, folder, records, progress)
        if selection.checkpoints:
            with Converter() as converter:
                fetched += export_checkpoints(client, folder, records, converter, progress)
        projects = _list_projects(client, selection, [*studies, *records.jobs])
        rows = _write_tables(folder, projects, studies, records, datasets, progress)
        folder.finish(selection=asdict(selection), rows=rows)
        return Exported(rows, fetched, tuple(folder.problems))


def _list_studies(client: Client, selection: Selection) -> list[Item]:
    if selection.study is not None:
        return [client.show(Reference("study", selection.study))]
    return client.studies(project=selection.project, archived=True)[::-1]


def _list_jobs(client: Client, selection: Selection) -> list[Item]:
    jobs = client.jobs(study=selection.study, project=selection.project, archived=True)
    return jobs[::-1]


def _list_datasets(
    client: Client, selection: Selection, jobs: Iterable[Item]
) -> tuple[list[Item], list[Item]]:
    """The datasets, and the jobs that decoded them; of a study or project, the datasets that its jobs name."""
    datasets = client.datasets()
    if selection.study is not None or selection.project is not None:
        named = {job["spec"]["dataset"]["name"] for job in jobs}
        datasets = [dataset for dataset in datasets if dataset["name"] in named]
    ids = sorted({dataset["job_id"] for dataset in datasets if dataset["job_id"] is not None})
    return datasets, [client.show(Reference("job", number)) for number in ids]


def _list_projects(client: Client, selection: Selection, items: Iterable[Item]) -> list[Item]:
    """All that this person may read, or those of the selected studies and jobs."""
    projects = client.items("projects")
    if selection.study is None and selection.project is None:
        return projects
    named = {item["project"] for item in items}
    return [project for project in projects if project["name"] in named]


def _write_documents(
    client: Client,
    folder: ExportFolder,
    studies: Sequence[Item],
    jobs: Sequence[Item],
    project: str | None,
    progress: Progress,
) -> None:
    trained = [job for job in jobs if job["kind"] == "training"]
    progress.begin("specs and results", len(studies) + len(trained))
    for study in studies:
        _write_study(client, folder, study)
        progress.advance()
    for job in trained:
        comment = f"j{job['id']}: {job['name']}".replace("\n", " ")
        folder.write(f"{folder_of_job(job)}/spec.yaml", spec_as_yaml(job["spec"], comment))
        progress.advance()
    if any(job["study_id"] is None for job in trained):
        # A query that doesn't say `archived` leaves those out.
        query = "study=null and (archived=true or archived=false)"
        if project is not None:
            query += f" and project={json.dumps(project)}"
        _write_results(client, folder, "results/no-study.parquet", query=query)


def _write_study(client: Client, folder: ExportFolder, study: Item) -> None:
    reference = Reference("study", study["id"])
    place = folder_of_study(study)
    fetch = partial(client.download_path, f"{reference.path}/document")
    outlast_outage(partial(folder.place, f"{place}/spec.yaml", fetch))
    try:
        report = outlast_outage(partial(client.report, reference, "json"))
    except Refused as error:
        folder.problems.append(f"{place}/report.json: {error}")
    else:
        folder.write(f"{place}/report.json", report)
    _write_results(client, folder, f"results/{reference}.parquet", study=reference, trials=True)


def _write_results(client: Client, folder: ExportFolder, name: str, **asked: Any) -> None:
    def make(target: Path) -> None:
        chunks = client.export(format="jsonl", **asked)
        exported_frame(chunks, restore=False).to_parquet(target, index=False)

    try:
        outlast_outage(partial(folder.place, name, make))
    except Refused as error:
        folder.problems.append(f"{name}: {error}")


def _write_tables(
    folder: ExportFolder,
    projects: Sequence[Item],
    studies: Sequence[Item],
    records: Records,
    datasets: Sequence[Item],
    progress: Progress,
) -> dict[str, int]:
    tables: dict[str, Rows] = {
        "projects": lambda: projects,
        "studies": lambda: studies,
        "jobs": lambda: records.jobs,
        "datasets": lambda: datasets,
    }
    parts = "attempts", "epochs", "diagnostics", "transitions", "logs", "checkpoints", "files"
    tables |= {part: partial(records.rows, part) for part in parts}
    progress.begin("tables", len(tables))
    counts: dict[str, int] = {}
    for name, rows in tables.items():

        def make(target: Path, name: str = name, rows: Rows = rows) -> None:
            counts[name] = write_table(name, rows, target)

        folder.place(f"{name}.parquet", make)
        progress.advance()
    return counts
