"""A study's report from the database and the storage."""

import json
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

import structlog
from sqlalchemy.orm import Session, sessionmaker

from runtime.files import DamagedFile, digest_of
from runtime.storage import Storage
from store.db import File, Study
from store.mlflow import links
from store.results import ResultRow, series
from store.studies import count_jobs, status_of
from studies.claims import judge_claims
from studies.comparison import Comparison, StudyEvidence, compare, read_evidence
from studies.presets import PresetRun
from studies.report.diagnostics import read_fans, read_filters, read_histograms
from studies.report.panels import MOST_BYTES, Fan, read_panels
from studies.report.schemas import (
    Curve,
    Filters,
    Histogram,
    JobReport,
    Provenance,
    ReportInput,
    StoredFile,
)
from studies.spec import arm_name
from studies.stats import finite
from studies.tuning import read_replays, tuned_arms

#: Evaluation periods of all jobs together; of more, an even choice is drawn.
MOST_PERIODS = 200_000
#: Variants whose layers are shown, and jobs of each whose weights are added up.
MOST_SHOWN, MOST_POOLED = 8, 8

log = structlog.get_logger(__name__)


def fetch_arrays(sessions: sessionmaker[Session], study_id: int, storage: Storage) -> None:
    """The small arrays that a report shows, from an object store to this host: before the transaction of `read_report`,
    which shows what is there."""
    if not storage.is_remote:
        return
    with sessions.begin() as session:
        files = [one for kept in series.job_files(session, study_id).values() for one in kept]
    for file in files:
        if file.name.endswith(".npz") and file.bytes <= MOST_BYTES:
            try:
                storage.fetch(file.path, file.digest)
            except (DamagedFile, FileNotFoundError) as error:
                log.warning("a file can't be shown", path=file.path, error=str(error))
            except OSError as error:
                log.warning("files can't be shown", study=study_id, error=str(error))
                return


def read_report(
    session: Session,
    study: Study,
    storage: Path,
    mlflow_url: str | None,
    *,
    with_figures: bool = True,
) -> ReportInput:
    """Of the study as it is now; `storage`: its folder on this host; `mlflow_url`: the public base of the links, None
    where there is no MLflow. Without figures, what only they show is left out (curves, files and layers of jobs), but
    for that of the study's own; and what comes of the trials' curves."""
    # Curves and snapshots are read with it, once, for claims, panels and the report's own curves.
    evidence = read_evidence(session, study, with_records=True)
    comparison = compare(evidence)
    has_files = with_figures or evidence.study.figure
    files = series.job_files(session, study.id) if has_files else {}
    curves = _read_curves(session, study, evidence) if with_figures else {}
    urls = _find_job_urls(session, evidence, mlflow_url)
    jobs = tuple(_make_jobs(comparison, evidence, curves, files, urls))
    counts = count_jobs(session, [study.id])[study.id].counts
    fans, filters, histograms = _read_diagnostics(
        session, jobs if with_figures else (), files, storage
    )
    return ReportInput(
        study_id=study.id,
        name=study.name,
        project=study.project.name,
        owner=study.owner.name,
        description=study.spec.get("description", ""),
        status=status_of(counts),
        created_at=study.created_at,
        finished_at=_find_end(evidence.rows),
        mlflow_url=_find_url(session, study, mlflow_url),
        warnings=tuple(study.warnings),
        spec=study.spec,
        comparison=comparison,
        declared_by={kind: one["who"] for kind, one in study.declared.items()},
        claims=judge_claims(evidence),
        panels=read_panels(evidence, files, storage),
        tuned=tuned_arms(study),
        replays=read_replays(session, study) if with_figures else (),
        preset=PresetRun.model_validate(study.preset) if study.preset else None,
        jobs=jobs,
        provenance=_read_provenance(session, study, evidence.rows),
        fans=fans,
        filters=filters,
        histograms=histograms,
    )


def _read_curves(
    session: Session, study: Study, evidence: StudyEvidence
) -> Mapping[int, Sequence[Mapping[str, Any]]]:
    # A study with claims has its curves read whole; of any other, no more than a report shows are read.
    if evidence.curves:
        return series.thin(evidence.curves, MOST_PERIODS)
    return series.curves(session, study.id, MOST_PERIODS)


def _find_job_urls(
    session: Session, evidence: StudyEvidence, mlflow_url: str | None
) -> Mapping[int, str]:
    ids = [row.job_id for row in evidence.rows]
    return links.job_urls(session, mlflow_url, ids) if mlflow_url else {}


def _make_jobs(
    comparison: Comparison,
    evidence: StudyEvidence,
    curves: Mapping[int, Sequence[Mapping[str, Any]]],
    files: Mapping[int, Sequence[File]],
    urls: Mapping[int, str],
) -> Iterator[JobReport]:
    # What each job counts with is decided by the comparison alone; the table of jobs must not decide it again.
    values = {one.job_id: one.value for arm in comparison.variants for one in arm.values}
    for row in evidence.rows:
        job_id = row.job_id
        yield JobReport(
            id=job_id,
            arm=arm_name(row.variant, row.point),
            value=values.get(job_id),
            metrics={name: finite(value) for name, value in row.metrics.items()},
            mlflow_url=urls.get(job_id),
            curve=_make_curve(curves.get(job_id, [])),
            files=tuple(
                StoredFile(name=one.name, digest=one.digest, bytes=one.bytes)
                for one in files.get(job_id, ())
            ),
            variant=row.variant,
            point=dict(row.point),
            seed=row.seed,
            status=row.status,
            reason=row.reason,
            hash=row.hash,
            started_at=row.started_at,
            finished_at=row.finished_at,
        )


def _make_curve(periods: Sequence[Mapping[str, Any]]) -> Curve:
    return Curve(**{name: tuple(row[name] for row in periods) for name in Curve.model_fields})


def _find_end(rows: Sequence[ResultRow]) -> datetime | None:
    """When its last job ended; None while one goes on."""
    ends = [row.finished_at for row in rows if row.finished_at is not None]
    return max(ends) if ends and len(ends) == len(rows) else None


def _find_url(session: Session, study: Study, mlflow_url: str | None) -> str | None:
    urls = links.study_urls(session, mlflow_url, [study.id]) if mlflow_url else {}
    return urls.get(study.id)


def _read_provenance(session: Session, study: Study, rows: Sequence[ResultRow]) -> Provenance:
    document = json.dumps(study.spec, sort_keys=True).encode()
    environments = [row.environment for row in rows if row.environment]
    names = dict.fromkeys(name for one in environments for name in one)
    return Provenance(
        spec=digest_of(document),
        data=series.dataset_digests(session, study.id),
        environment={
            name: tuple(sorted({str(one[name]) for one in environments if name in one}))
            for name in names
        },
    )


def _read_diagnostics(
    session: Session,
    jobs: Sequence[JobReport],
    files: Mapping[int, Sequence[File]],
    storage: Path,
) -> tuple[tuple[Fan, ...], tuple[Filters, ...], tuple[Histogram, ...]]:
    """Of the first variants, at the first point of the matrix."""
    if not jobs:
        return (), (), ()
    # Layers are shown at one point of the matrix: of other points they may have other shapes.
    at_first = [one for one in jobs if one.point == jobs[0].point and one.status == "succeeded"]
    variants = list(dict.fromkeys(one.variant for one in at_first))[:MOST_SHOWN]
    filters: list[Filters] = []
    histograms: list[Histogram] = []
    arms = [[one for one in at_first if one.variant == variant] for variant in variants]
    for variant, chosen in zip(variants, arms, strict=True):
        kept = (read_filters(one, files.get(one.id, ()), storage) for one in chosen)
        first = next((one for one in kept if one is not None), None)
        filters += [] if first is None else [first]
        histograms += read_histograms(variant, chosen[:MOST_POOLED], files, storage)
    return tuple(read_fans(session, arms)), tuple(filters), tuple(histograms)
