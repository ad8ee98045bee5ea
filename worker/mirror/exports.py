"""What is drawn and exported of ended jobs and studies: beside the numbers, while no job needs the machine.

A thread of its own draws, exports and talks to MLflow, one thing after another. All SQL stays with the mirror's
one connection: `advance` notes what has been sent, and reads what comes next.
"""

import math
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from sqlalchemy.orm import Session, sessionmaker

from runtime.storage import Storage
from store.db import DATABASE_AWAY, Diagnosis, Epoch, Job, Mirrored
from store.jobs import commands
from store.mlflow import JobToMirror, Subject, exports, mirror, mirror_problems
from store.results import LayerSnapshot
from store.studies import studies
from studies.figures.diagnostics import draw_diagnostics
from studies.figures.learning_curves import draw_job
from studies.figures.mpl import png
from studies.rendering import Renderer, draw_report, fill_links, report_links
from studies.report import ReportInput, fetch_arrays, read_report, to_markdown_report
from worker.mirror.failures import Failures
from worker.mirror.limits import LONGEST_TAG, clip, run_name
from worker.mirror.models import ExportBroken, ModelLogger, Outcome
from worker.mirror.tracking import Tracking

FIGURE = "learning_curves.png"
DIAGNOSTICS_FIGURE = "diagnostics.png"
#: Characters that fit above a job's figure.
LONGEST_TITLE = 110
#: Runs whose figures are sent before anything else is looked at.
FILES_AT_ONCE = 8
#: While jobs are queued, slots are idle once nothing has run for so long: between two jobs, one is free for a moment.
QUIET_SECONDS = 10.0
#: While jobs run, what has waited too long is looked for so often.
BUSY_LOOK_SECONDS = 30.0


@dataclass(frozen=True, slots=True)
class FilesExport:
    """The figures of one run; `draw` yields each file's name and content."""

    row: Mirrored
    draw: Callable[[], Iterator[tuple[str, bytes]]]

    @property
    def subject(self) -> Subject:
        return Subject("files", job_id=self.row.job_id, study_id=self.row.study_id)


@dataclass(frozen=True, slots=True)
class ModelExport:
    """The model of one job; `is_expected`: the job has best weights."""

    record: JobToMirror
    row: Mirrored
    export: Callable[[], Outcome]
    is_expected: bool

    @property
    def subject(self) -> Subject:
        return Subject("model", job_id=self.row.job_id)


class Exports:
    """At most one export at a time."""

    def __init__(
        self,
        sessions: sessionmaker[Session],
        storage: Storage,
        tracking: Tracking,
        failures: Failures,
        *,
        links: str,
        models: ModelLogger,
        renderer: Renderer,
        wait_seconds: float,
    ) -> None:
        """`links`: MLflow's address for people; `wait_seconds`: for so long an export waits for idle slots."""
        self._sessions = sessions
        self._storage = storage
        self._tracking = tracking
        self._failures = failures
        self._links = links
        self._models = models
        self._renderer = renderer
        self._wait_seconds = wait_seconds
        self._busy_at = time.monotonic()
        self._are_jobs_waiting = False
        self._is_expected, self._looked_at = True, -math.inf
        # Its thread lives as long as this does: the helper that exports ends with the thread that started it.
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="exports")
        self._running: list[tuple[FilesExport | ModelExport, Future[Any]]] = []

    @property
    def is_running(self) -> bool:
        return bool(self._running)

    def wait(self, seconds: float | None = None) -> None:
        """Until what has begun has ended."""
        wait([future for _, future in self._running], seconds)

    def advance(self, *, at_once: bool = False) -> int:
        """Notes what has ended, and begins what is due next if nothing runs; returns how many it has begun.

        `at_once`: also while jobs run.
        """
        self._settle()
        if self._running:
            return 0
        begun = self._begin_next(0.0 if at_once or self.look_at_slots() else self._wait_seconds)
        if not begun:
            self._models.close_if_idle(at_once=self._are_jobs_waiting)
        return begun

    @property
    def are_jobs_waiting(self) -> bool:
        """Whether, at the last look, jobs were queued beside those that run: no slot is free for long."""
        return self._are_jobs_waiting

    def look_at_slots(self) -> bool:
        """Whether they are idle."""
        with self._sessions.begin() as session:
            load = exports.read_load(session)
        self._are_jobs_waiting = load.is_running and load.is_queued
        if load.is_running:
            self._busy_at = time.monotonic()
            return False
        return not load.is_queued or time.monotonic() - self._busy_at > QUIET_SECONDS

    def expect(self) -> None:
        """Something may have become due: until then, nobody looks where nothing was."""
        self._is_expected = True

    def close(self) -> None:
        """Ends what runs, which doesn't count as a try."""
        self._models.stop()
        self._renderer.stop()
        self._thread.shutdown(cancel_futures=True)
        self._models.close()
        with suppress(*DATABASE_AWAY):
            for export, _ in self._running:
                if isinstance(export, ModelExport):
                    self._take_back(export)
        self._running = []

    def _begin_next(self, waited_seconds: float) -> int:
        now = time.monotonic()
        if not self._is_expected or (
            waited_seconds > 0 and now - self._looked_at < BUSY_LOOK_SECONDS
        ):
            return 0
        begun = self._begin_files(waited_seconds) or self._begin_model(waited_seconds)
        # To find that nothing is due takes a look at every run.
        if not begun:
            self._is_expected, self._looked_at = waited_seconds > 0, now
        return begun

    def _begin_files(self, waited_seconds: float) -> int:
        with self._sessions.begin() as session:
            rows = exports.next_files(session, waited_seconds, FILES_AT_ONCE)
        # Of studies one at a time: a report takes seconds.
        for row in rows if rows and rows[0].study_id is None else rows[:1]:
            subject = Subject("files", job_id=row.job_id, study_id=row.study_id)
            # Only what has been sent clears an earlier problem, and ends its pauses.
            with self._failures.recorded(subject, row):
                export = FilesExport(row, self._prepare_files(row))
                self._running.append((export, self._thread.submit(self._send_files, export)))
        return len(rows)

    def _prepare_files(self, row: Mirrored) -> Callable[[], Iterator[tuple[str, bytes]]]:
        """What is to be drawn, read from SQL."""
        if row.study_id is not None:
            fetch_arrays(self._sessions, row.study_id, self._storage)
        with self._sessions.begin() as session:
            if row.study_id is not None:
                study = studies.find(session, row.study_id)
                assert study is not None
                report = read_report(session, study, self._storage.root, self._links)
                return lambda: study_files(report, self._storage, self._renderer)
            assert row.job_id is not None
            job = commands.find(session, row.job_id)
            assert job is not None
            epochs = mirror.read_epochs(session, [job.id]).get(job.id, [])
            diagnoses = mirror.read_diagnoses(session, job.id)
            return lambda: job_files(job, epochs, diagnoses)

    def _send_files(self, export: FilesExport) -> None:
        self._tracking.ensure_active(export.row.run_id)
        for name, content in export.draw():
            self._tracking.send_file(export.row.run_id, name, content)

    def _begin_model(self, waited_seconds: float) -> int:
        with self._sessions.begin() as session:
            job_id = exports.next_model(session, waited_seconds)
            if job_id is None:
                return 0
            record = mirror.read_jobs(session, [job_id])[0]
            checkpoint = exports.best_checkpoint(session, job_id)
            # Counted before it begins: one that ends this process, too, is counted as well.
            number = exports.begin(session, job_id)
        row = record.mirrored
        assert row is not None
        export = ModelExport(
            record,
            row,
            lambda: self._models.log_model(record, checkpoint, number),
            checkpoint is not None,
        )
        self._running.append((export, self._thread.submit(self._send_model, export)))
        return 1

    def _send_model(self, export: ModelExport) -> Outcome:
        self._tracking.ensure_active(export.row.run_id)
        outcome = export.export()
        text = outcome.kind if outcome.model_id else f"{outcome.kind}: {outcome.detail}"
        self._tracking.send(export.row.run_id, tags={"normlab.model": clip(text, LONGEST_TAG)})
        return outcome

    def _settle(self) -> None:
        while self._running and self._running[0][1].done():
            export, future = self._running.pop(0)
            error = future.exception()
            if isinstance(export, ModelExport) and not isinstance(error, ExportBroken | None):
                # It ended because MLflow or this process did.
                self._take_back(export)
            if isinstance(error, Exception):
                self._failures.record(export.subject, export.row, error)
            elif error is not None:
                raise error
            else:
                self._note(export, future.result())

    def _note(self, export: FilesExport | ModelExport, outcome: Outcome | None) -> None:
        row, model_id = export.row, None
        with self._sessions.begin() as session:
            mirror_problems.clear(session, export.subject)
            if isinstance(export, FilesExport):
                is_noted = exports.note_files(session, row)
            else:
                assert outcome is not None
                model_id = outcome.model_id
                is_noted = exports.note_model(session, row, outcome.kind, model_id)
                # A job without any finite epoch has no best weights: nothing is lacking.
                if is_noted and not outcome.is_sent and export.is_expected:
                    mirror_problems.note(session, export.subject, f"its model: {outcome.detail}")
        if not is_noted:
            # A rebuild has forgotten this run meanwhile: its successor is another one.
            self._tracking.retire_run(row.run_id, model_id)

    def _take_back(self, export: ModelExport) -> None:
        with self._sessions.begin() as session:
            exports.take_back(session, export.record.job.id)


def job_files(
    job: Job, epochs: Sequence[Epoch], diagnoses: Sequence[Diagnosis]
) -> Iterator[tuple[str, bytes]]:
    """Name and content of a job's figures; none where nothing was measured."""
    title = run_name(job.name, LONGEST_TITLE)
    if epochs:
        names = ("epoch", "train_loss", "val_loss", "train_accuracy", "val_accuracy")
        rows = [{name: getattr(epoch, name) for name in names} for epoch in epochs]
        yield FIGURE, png(draw_job(title, rows, job.metrics.get("best_epoch")))
    if diagnoses:
        snapshots = [LayerSnapshot(row.layer, row.step, row.statistics) for row in diagnoses]
        yield DIAGNOSTICS_FIGURE, draw_diagnostics(title, snapshots)


def study_files(
    report: ReportInput, storage: Storage, renderer: Renderer
) -> Iterator[tuple[str, bytes]]:
    """Name and content, figures first: the report in Markdown shows those beside it. Figures come from the storage
    where they were drawn before. Raises `RenderingFailed`."""
    drawn = draw_report(report, storage, renderer)
    names = {name: f"{name}.png" for name in drawn.figures}
    for name, content in drawn.figures.items():
        yield names[name], content
    yield "report.html", fill_links(drawn.page, report_links(report))
    yield "report.md", to_markdown_report(report, names).encode()
    yield "comparison.json", report.comparison.model_dump_json(indent=2).encode()
