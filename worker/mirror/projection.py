"""Jobs and studies, into MLflow: each run made once, what is new sent, then the watermarks written.

Each step may be repeated after a crash: the run is found by its key, points are the same points, tags
are overwritten by their equals. Nothing talks to MLflow inside a transaction.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from mlflow.entities import Metric
from sqlalchemy.orm import Session, sessionmaker

from runtime.files import digest_of
from store.db import Mirrored
from store.mlflow import JobToMirror, StudyToMirror, exports, mirror, mirror_problems
from store.results import result_rows
from studies.comparison import Comparison, read_comparison
from worker.mirror import runs
from worker.mirror.experiments import Experiments
from worker.mirror.limits import run_name
from worker.mirror.models import models_wanted
from worker.mirror.notes import job_note, study_note
from worker.mirror.tracking import KEY_TAG, Tracking


@dataclass(frozen=True, slots=True)
class JobRun:
    """A job's run with what it lacks, read from SQL before anything is sent.

    `experiment_id`: where the run is to be made, empty where there is one; `is_new`: its row has just been
    made, so that there can't be a run under its key.
    """

    record: JobToMirror
    row: Mirrored
    experiment_id: str
    is_new: bool
    parent_run_id: str | None
    diagnosis_metrics: Sequence[Metric]


@dataclass(frozen=True, slots=True)
class Projection:
    """SQL on one side, MLflow on the other."""

    sessions: sessionmaker[Session]
    tracking: Tracking
    experiments: Experiments

    def experiment_of(self, record: JobToMirror | StudyToMirror, project_id: int | None) -> str:
        """Where the job's or study's run is to be made; empty where there is one."""
        if record.mirrored is not None and record.mirrored.run_id:
            return ""
        assert project_id is not None
        return self.experiments.id_of(project_id, record.project)

    def open_jobs(
        self, records: Mapping[str, Sequence[JobToMirror]], parents: Mapping[int, str]
    ) -> list[JobRun]:
        """The runs of these jobs, grouped by `experiment_of`. A job without a row gets one, with the key of the run
        that is about to be made."""
        new = {
            record.job.id: experiment_id
            for experiment_id, some in records.items()
            for record in some
            if record.mirrored is None
        }
        with self.sessions.begin() as session:
            rows = mirror.open_runs(session, new)
            return [
                JobRun(
                    record,
                    record.mirrored or rows[record.job.id],
                    experiment_id,
                    record.mirrored is None,
                    parents.get(record.job.study_id or 0),
                    _diagnosis_metrics(session, record),
                )
                for experiment_id, some in records.items()
                for record in some
            ]

    def send_job(self, run: JobRun) -> None:
        """Without SQL, so that several threads may do it. What was sent is noted in the run's row, in memory."""
        record, row, job = run.record, run.row, run.record.job
        tags = {
            **runs.job_tags(record, run.parent_run_id),
            "mlflow.note.content": job_note(record),
        }
        is_made = self._ensure_run(
            row, run.experiment_id, job.name, job.started_at or job.created_at, tags, run.is_new
        )
        metrics = [*runs.epoch_metrics(record.epochs), *run.diagnosis_metrics]
        if record.final:
            metrics += runs.final_metrics(job)
        is_first = "sent" not in row.state
        # Once: MLflow refuses a parameter that it has with another value.
        params = runs.job_params(job.spec) if is_first else None
        fresh = _Fresh(row.state, tags)
        self.tracking.send(row.run_id, metrics, params, {} if is_made else fresh.tags)
        if is_first:
            self.tracking.send_inputs(row.run_id, runs.dataset_inputs(record))
        self._set_status(row, job.status, job.finished_at)
        row.state = {**row.state, "sent": fresh.digest}

    def note_jobs(self, sent: Sequence[JobRun]) -> None:
        """How far these runs have been written, in one transaction."""
        for run in sent:
            _advance(run)
        with self.sessions.begin() as session:
            saved = mirror.save(session, [run.row for run in sent])
            mirror_problems.clear_runs(session, [run.record.job.id for run in sent])
        self._retire([run.row for run in sent if run.row.id not in saved])

    def mirror_study(self, record: StudyToMirror) -> None:
        row = self.open_study(record)
        comparison = self._compare(record) if record.final else None
        fresh = _Fresh(
            row.state,
            {**runs.study_tags(record), "mlflow.note.content": study_note(record, comparison)},
        )
        self.tracking.send(row.run_id, runs.study_metrics(record, comparison), tags=fresh.tags)
        ended_at = record.finished_at
        if comparison is not None:
            _wish_files(row, ended_at)
        self._set_status(row, runs.study_status(record), ended_at)
        row.state = {**row.state, "sent": fresh.digest}
        with self.sessions.begin() as session:
            exports.request_models(session, models_wanted(record), row.experiment_id)
        self._save(row, seen_at=record.changed_at, closed_at=ended_at)

    def open_study(self, record: StudyToMirror) -> Mirrored:
        """The study's row; its run is made, with its params, if there is none."""
        study = record.study
        experiment_id = self.experiment_of(record, study.project_id)
        row = record.mirrored
        if row is not None and row.run_id:
            return row
        is_new = row is None
        if row is None:
            with self.sessions.begin() as session:
                opened = mirror.open_runs(session, {study.id: experiment_id}, of_studies=True)
                row = opened[study.id]
        tags = runs.study_tags(record)
        self._ensure_run(row, experiment_id, study.name, study.created_at, tags, is_new)
        self.tracking.send(row.run_id, params=runs.study_params(record))
        self._save(row, seen_at=None, closed_at=None)
        return row

    def _ensure_run(
        self,
        row: Mirrored,
        experiment_id: str,
        name: str,
        started_at: datetime,
        tags: Mapping[str, str],
        is_new: bool,
    ) -> bool:
        """Gives the row its run, if it has none; whether that was made, with these tags."""
        if row.run_id:
            return False
        key = row.state["key"]
        if not is_new:
            # The row has a key but no run: the mirror died between creating the run in MLflow and
            # noting it here. Looked up by its key, it is not created twice.
            row.run_id = self.tracking.find_run(row.experiment_id, KEY_TAG, key) or ""
            if row.run_id:
                return False
        row.experiment_id = experiment_id
        tags = {**tags, KEY_TAG: key}
        row.run_id = self.tracking.create_run(experiment_id, run_name(name), started_at, tags)
        # As MLflow makes them: a job that runs needs no request of its own to say so.
        row.state = {**row.state, "status": "running"}
        return True

    def _compare(self, record: StudyToMirror) -> Comparison:
        with self.sessions.begin() as session:
            return read_comparison(session, record.study)

    def _set_status(self, row: Mirrored, status: str, ended_at: datetime | None) -> None:
        if row.state.get("status") != status or row.closed_at != ended_at:
            self.tracking.set_status(row.run_id, runs.run_status(status), ended_at)
            row.state = {**row.state, "status": status}

    def _save(self, row: Mirrored, *, seen_at: datetime | None, closed_at: datetime | None) -> None:
        row.seen_at, row.closed_at = seen_at, closed_at
        with self.sessions.begin() as session:
            saved = mirror.save(session, [row])
        self._retire([] if saved else [row])

    def _retire(self, forgotten: Sequence[Mirrored]) -> None:
        """A rebuild has forgotten these runs while we wrote them: their successors have others."""
        for row in forgotten:
            self.tracking.retire_run(row.run_id, row.state.get("model_id"))


def _diagnosis_metrics(session: Session, record: JobToMirror) -> list[Metric]:
    if not record.diagnoses:
        return []
    firsts = result_rows.first_diagnoses(session, record.job.id)
    return list(runs.diagnosis_metrics(record.diagnoses, firsts, record.job.spec))


def _advance(run: JobRun) -> None:
    """The watermark is the job's change that was read, not the present one: what changes meanwhile is due in the
    next pass, and what a crash leaves unsent as well."""
    record, row, job = run.record, run.row, run.record.job
    row.epoch = max([row.epoch, *(epoch.epoch for epoch in record.epochs)])
    if record.diagnoses:
        row.state = {**row.state, "diagnosis": record.diagnoses[-1].id}
    if _is_model_wanted(record):
        row.state = {**row.state, "model": "wanted"}
    if record.final:
        _wish_files(row, job.finished_at)
    row.seen_at, row.closed_at = job.changed_at, job.finished_at


def _wish_files(row: Mirrored, ended_at: datetime | None) -> None:
    """Files are due once for each ending: what is extended or retried ends again."""
    if row.closed_at != ended_at:
        row.state = {**row.state, "files": "wanted"}


class _Fresh:
    """Tags to send, none when the same were sent before: judged by a digest kept in SQL."""

    def __init__(self, state: Mapping[str, Any], tags: Mapping[str, str]) -> None:
        text = json.dumps(tags, sort_keys=True)
        self.digest = digest_of(text)
        self.tags = {} if state.get("sent") == self.digest else tags


def _is_model_wanted(record: JobToMirror) -> bool:
    """Whether this job's model is due as soon as the job is: of studies, the study decides."""
    has_none = record.mirrored is None or "model" not in record.mirrored.state
    return record.study is None and record.job.status == "succeeded" and has_none
