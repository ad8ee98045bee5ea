"""A pass of the mirror: the numbers of jobs, then of studies, then what is drawn and exported beside them."""

import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from sqlalchemy.orm import Session, sessionmaker

from runtime.storage import Storage
from runtime.tracing import NO_TRACES, Traces, traced
from store.mlflow import JobToMirror, Subject, mirror
from studies.rendering import Renderer
from worker.mirror.deletions import Deletions
from worker.mirror.experiments import Experiments
from worker.mirror.exports import Exports
from worker.mirror.failures import Failures
from worker.mirror.models import ModelLogger
from worker.mirror.projection import JobRun, Projection
from worker.mirror.tracking import Tracking

JOBS_AT_ONCE = 50
#: Runs that are written at the same time: between two requests for one run, MLflow and we work on the others.
THREADS = 4
#: How often all jobs are looked at, and not only those that were said to have changed.
SCAN_SECONDS = 60.0
#: A study that goes on is written at most so often; one that has ended at once.
STUDY_SECONDS = 10.0
#: Before runs are deleted, so long is waited for the file or the model that is being sent.
EXPORT_SECONDS = 120.0


@dataclass(frozen=True, slots=True)
class Pass:
    """How much one pass has tried."""

    jobs: int
    studies: int
    exports: int
    erased: int = 0

    @property
    def is_idle(self) -> bool:
        return not (self.jobs or self.studies or self.exports or self.erased)

    @property
    def is_cut_short(self) -> bool:
        """More jobs may be due than one pass takes."""
        return self.jobs == JOBS_AT_ONCE


class Mirroring:
    """The passes of one mirror over one locked connection."""

    def __init__(
        self,
        sessions: sessionmaker[Session],
        tracking: Tracking,
        models: ModelLogger,
        renderer: Renderer,
        *,
        storage: Storage,
        links: str,
        export_wait_seconds: float,
        traces: Traces = NO_TRACES,
    ) -> None:
        self._traces = traces
        self._sessions = sessions
        self._tracking = tracking
        self._experiments = Experiments(sessions, tracking)
        deletions = Deletions(sessions, tracking, self._experiments)
        self.failures = Failures(sessions, tracking, self._experiments, deletions)
        self._projection = Projection(sessions, tracking, self._experiments)
        self.exports = Exports(
            sessions,
            storage,
            tracking,
            self.failures,
            links=links,
            models=models,
            renderer=renderer,
            wait_seconds=export_wait_seconds,
        )
        #: The jobs, and the studies, to look at in the next pass; None: all there are.
        self._jobs: set[int] | None = None
        self._studies: set[int] | None = None
        self._scanned_at = 0.0
        self._studies_shown_at: dict[int, float] = {}

    def note_changes(self, job_ids: set[int] | None) -> None:
        """These jobs have changed; None: any may have."""
        if job_ids is None:
            self._jobs = self._studies = None
        elif self._jobs is not None:
            self._jobs |= job_ids

    @property
    def is_batch_due(self) -> bool:
        """Whether half as many jobs have changed as a pass takes, or all are to be looked at."""
        return self._jobs is None or len(self._jobs) >= JOBS_AT_ONCE // 2

    def run_pass(self, *, everything: bool = False) -> Pass:
        """`everything`: also what may wait, and not only of the jobs that were said to have changed."""
        if everything or time.monotonic() - self._scanned_at > SCAN_SECONDS:
            self.note_changes(None)
            self._scanned_at = time.monotonic()
            self.exports.expect()
        self.failures.find_deletions()
        erased = self.failures.erase(lambda: self.exports.wait(EXPORT_SECONDS))
        jobs, studies = self._mirror_jobs(), self._mirror_studies(may_wait=not everything)
        if jobs or studies:
            self.exports.expect()
        return Pass(jobs, studies, self.exports.advance(at_once=everything), erased)

    def close(self) -> None:
        self.exports.close()

    def _mirror_jobs(self) -> int:
        with self._sessions.begin() as session:
            due = mirror.due_jobs(session, JOBS_AT_ONCE, self._jobs)
            records = mirror.read_jobs(session, due)
            studies = {record.job.study_id for record in records if record.job.study_id}
            parents = mirror.runs_of_studies(session, studies)
            if self._jobs is not None and self._studies is not None:
                self._studies |= mirror.studies_of(session, self._jobs)
        runs = self._open(records, parents)
        self._send(runs)
        # What is due beyond this pass's share is looked at again.
        if len(due) < JOBS_AT_ONCE:
            self._jobs = set()
        return len(due)

    def _open(self, records: list[JobToMirror], parents: dict[int, str]) -> list[JobRun]:
        """The runs of these jobs; without those whose experiment or study can't be written."""
        by_experiment: dict[str, list[JobToMirror]] = {}
        for record in records:
            job = record.job
            with self.failures.recorded(Subject("run", job_id=job.id), record.mirrored):
                experiment_id = self._projection.experiment_of(record, job.project_id)
                if job.study_id is not None and job.study_id not in parents:
                    run_id = self._open_study(job.study_id)
                    if run_id is None:
                        continue
                    parents[job.study_id] = run_id
                by_experiment.setdefault(experiment_id, []).append(record)
        return self._projection.open_jobs(by_experiment, parents)

    def _open_study(self, study_id: int) -> str | None:
        """None: it has been deleted meanwhile, and its jobs with it."""
        with self._sessions.begin() as session:
            record = mirror.read_study(session, study_id)
        return None if record is None else self._projection.open_study(record).run_id

    def _send(self, runs: list[JobRun]) -> None:
        sent: list[JobRun] = []
        failed: list[tuple[JobRun, Exception]] = []
        pool = ThreadPoolExecutor(THREADS, thread_name_prefix="runs")
        try:
            for run, future in [(run, pool.submit(self._send_job, run)) for run in runs]:
                error = future.exception()
                if error is None:
                    sent.append(run)
                elif not isinstance(error, Exception):
                    raise error
                else:
                    failed.append((run, error))
                    if not self._tracking.is_up():
                        break
        finally:
            pool.shutdown(cancel_futures=True)
        self._projection.note_jobs(sent)
        for run, error in failed:
            subject = Subject("run", job_id=run.record.job.id)
            self.failures.record(subject, run.record.mirrored, error)

    def _send_job(self, run: JobRun) -> None:
        """Of its trace once it has ended: until then a pass sends a few epochs."""
        job = run.record.job
        context = job.trace_context if run.record.final else None
        with traced(self._traces, "mirror", context, job=job.id, epochs=len(run.record.epochs)):
            self._projection.send_job(run)

    def _mirror_studies(self, *, may_wait: bool) -> int:
        with self._sessions.begin() as session:
            due = mirror.due_studies(session, self._studies)
        now = time.monotonic()
        waiting = {
            study_id
            for study_id, has_ended in due.items()
            if may_wait
            and not has_ended
            and now - self._studies_shown_at.get(study_id, -STUDY_SECONDS) < STUDY_SECONDS
        }
        for study_id in sorted(due.keys() - waiting):
            with self._sessions.begin() as session:
                record = mirror.read_study(session, study_id)
            if record is None:
                continue
            with self.failures.noted(Subject("run", study_id=study_id), record.mirrored):
                context = record.study.trace_context if record.final else None
                with traced(self._traces, "mirror", context, study=study_id):
                    self._projection.mirror_study(record)
            self._studies_shown_at[study_id] = now
        self._studies = None if self._jobs is None else waiting
        return len(due) - len(waiting)
