"""One job, one study, into MLflow: its run made once, what is new sent, then the watermark written.

Each step may be repeated after a crash: the run is found by its key, points are the same points, tags
and files are overwritten by their equals. Nothing talks to MLflow inside a transaction.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from mlflow.entities import Metric
from sqlalchemy.orm import Session, sessionmaker

from runtime.files import digest_of
from store.db import Epoch, Mirrored
from store.jobs import commands
from store.mlflow import JobToMirror, StudyToMirror, exports, mirror
from store.results import LayerSnapshot, result_rows
from store.studies import studies
from studies.comparison import Comparison, read_comparison
from studies.figures.diagnostics import draw_diagnostics
from studies.figures.learning_curves import draw_job
from studies.figures.mpl import png
from studies.rendering import Renderer
from studies.report import read_report
from worker.mirror import runs
from worker.mirror.experiments import Experiments
from worker.mirror.limits import LONGEST_TAG, clip, run_name
from worker.mirror.models import Outcome, models_wanted
from worker.mirror.notes import job_note, study_note
from worker.mirror.study_files import study_files
from worker.mirror.tracking import KEY_TAG, Tracking

FIGURE = "learning_curves.png"
#: Characters that fit above a job's figure.
LONGEST_TITLE = 110
DIAGNOSTICS_FIGURE = "diagnostics.png"


@dataclass(frozen=True, slots=True)
class Projection:
    """SQL and the storage on one side, MLflow on the other; `links` is its address for people."""

    sessions: sessionmaker[Session]
    storage: Path
    tracking: Tracking
    experiments: Experiments
    links: str
    renderer: Renderer

    def mirror_job(self, record: JobToMirror, parent_run_id: str | None) -> None:
        job = record.job
        tags = runs.job_tags(record, parent_run_id)
        row = self._run_of(
            record, job.project_id, job.name, job.started_at or job.created_at, tags, job_id=job.id
        )
        metrics = [*runs.epoch_metrics(record.epochs), *self._read_diagnosis_metrics(record)]
        if record.final:
            metrics += runs.final_metrics(job)
        is_new = "sent" not in row.state
        # Once: MLflow refuses a parameter that it has with another value.
        params = runs.job_params(job.spec) if is_new else None
        fresh = _Fresh(row.state, {**tags, "mlflow.note.content": job_note(record)})
        self.tracking.send(row.run_id, metrics, params, fresh.tags)
        if is_new:
            self.tracking.send_inputs(row.run_id, runs.dataset_inputs(record))
        if record.final:
            _wish_files(row, job.finished_at)
        self._set_status(row, job.status, job.finished_at)
        wanted = models_wanted_alone(record)
        row.epoch = max([row.epoch, *(epoch.epoch for epoch in record.epochs)])
        if record.diagnoses:
            row.state = {**row.state, "diagnosis": record.diagnoses[-1].id}
        row.state = {**row.state, "sent": fresh.digest, **({"model": "wanted"} if wanted else {})}
        # The watermark comes last, and is the job's change that was read, not the present one: what
        # a crash leaves unsent, or what changes meanwhile, is due in the next pass.
        self._save(row, seen_at=job.changed_at, closed_at=job.finished_at)

    def _read_diagnosis_metrics(self, record: JobToMirror) -> list[Metric]:
        if not record.diagnoses:
            return []
        with self.sessions.begin() as session:
            firsts = result_rows.first_diagnoses(session, record.job.id)
        return list(runs.diagnosis_metrics(record.diagnoses, firsts, record.job.spec))

    def mirror_study(self, record: StudyToMirror) -> None:
        row = self.open_study(record)
        comparison = self._compare(record) if record.final else None
        fresh = _Fresh(
            row.state,
            {**runs.study_tags(record), "mlflow.note.content": study_note(record, comparison)},
        )
        self.tracking.send(row.run_id, tags=fresh.tags)
        ended_at = record.finished_at
        if comparison is not None:
            _wish_files(row, ended_at)
        self._set_status(row, runs.study_status(record), ended_at)
        row.state = {**row.state, "sent": fresh.digest}
        with self.sessions.begin() as session:
            exports.request_models(session, models_wanted(record), row.experiment_id)
        self._save(row, seen_at=record.changed_at, closed_at=ended_at)

    def send_files(self, row: Mirrored) -> None:
        """What is drawn of an ended job or study: slow, so it comes after everybody's numbers."""
        self.tracking.ensure_active(row.run_id)
        if row.study_id is not None:
            self._send_study_files(row.run_id, row.study_id)
        else:
            assert row.job_id is not None
            self._send_job_figures(row.run_id, row.job_id)
        row.state = {**row.state, "files": "sent"}
        self._save(row, seen_at=row.seen_at, closed_at=row.closed_at)

    def note_model(self, record: JobToMirror, outcome: Outcome) -> None:
        """Says on the run, and in SQL, what became of the job's model."""
        row = record.mirrored
        assert row is not None
        text = outcome.kind if outcome.model_id else f"{outcome.kind}: {outcome.detail}"
        self.tracking.send(row.run_id, tags={"normlab.model": clip(text, LONGEST_TAG)})
        before = {name: value for name, value in row.state.items() if name != exports.KEY}
        row.state = {**before, "model": outcome.kind, "model_id": outcome.model_id}
        self._save(row, seen_at=row.seen_at, closed_at=row.closed_at)

    def open_study(self, record: StudyToMirror) -> Mirrored:
        """The study's row; its run is made, with its params, if there is none."""
        study = record.study
        if record.mirrored is not None and record.mirrored.run_id:
            return record.mirrored
        row = self._run_of(
            record, study.project_id, study.name, study.created_at, runs.study_tags(record),
            study_id=study.id,
        )  # fmt: skip
        self.tracking.send(row.run_id, params=runs.study_params(record))
        self._save(row, seen_at=None, closed_at=None)
        return row

    def _run_of(
        self,
        record: JobToMirror | StudyToMirror,
        project_id: int | None,
        name: str,
        started_at: datetime,
        tags: Mapping[str, str],
        **owner: int,
    ) -> Mirrored:
        """The row with its run; noted under a key in SQL before it is made in MLflow."""
        row = record.mirrored
        if row is not None and row.run_id:
            return row
        assert project_id is not None
        experiment_id = self.experiments.id_of(project_id, record.project)
        found = None
        if row is None:
            with self.sessions.begin() as session:
                row = mirror.open_run(session, experiment_id, **owner)
        else:
            # The row has a key but no run: the mirror died between creating the run in MLflow and
            # noting it here. Looked up by its key, it is not created twice.
            found = self.tracking.find_run(row.experiment_id, KEY_TAG, row.state["key"])
        if found is None:
            row.experiment_id = experiment_id
            tags = {**tags, KEY_TAG: row.state["key"]}
            found = self.tracking.create_run(experiment_id, run_name(name), started_at, tags)
        row.run_id = found
        return row

    def _send_job_figures(self, run_id: str, job_id: int) -> None:
        with self.sessions.begin() as session:
            job = commands.find(session, job_id)
            assert job is not None
            epochs = mirror.read_epochs(session, [job_id]).get(job_id, [])
            diagnoses = mirror.read_diagnoses(session, job_id)
        if epochs:
            best = job.metrics.get("best_epoch")
            figure = draw_job(
                run_name(job.name, LONGEST_TITLE), [_row(epoch) for epoch in epochs], best
            )
            self.tracking.send_file(run_id, FIGURE, png(figure))
        if diagnoses:
            rows = [LayerSnapshot(row.layer, row.step, row.statistics) for row in diagnoses]
            self.tracking.send_file(
                run_id,
                DIAGNOSTICS_FIGURE,
                draw_diagnostics(run_name(job.name, LONGEST_TITLE), rows),
            )

    def _send_study_files(self, run_id: str, study_id: int) -> None:
        with self.sessions.begin() as session:
            study = studies.find(session, study_id)
            assert study is not None
            report = read_report(session, study, self.storage, self.links)
        for name, content in study_files(report, self.storage, self.renderer):
            self.tracking.send_file(run_id, name, content)

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
            saved = mirror.save(session, row)
        if not saved:
            # A rebuild has forgotten this run while we wrote it: its successor has another one.
            self.tracking.retire_run(row.run_id, row.state.get("model_id"))


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


def models_wanted_alone(record: JobToMirror) -> bool:
    """Whether this job's model is due as soon as the job is: of studies, the study decides."""
    return record.study is None and record.job.status == "succeeded" and _has_no_model(record)


def _has_no_model(record: JobToMirror) -> bool:
    return record.mirrored is None or "model" not in record.mirrored.state


def _row(epoch: Epoch) -> dict[str, Any]:
    names = ("epoch", "train_loss", "val_loss", "train_accuracy", "val_accuracy")
    return {name: getattr(epoch, name) for name in names}
