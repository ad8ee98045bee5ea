"""`python -m worker.mirror`: copies to MLflow what SQL has and MLflow lacks.

One mirror works at a time: its connection holds an advisory lock, hears of changes, and carries all of
its SQL, so whoever has lost the lock can't write a watermark any more. It may be killed anywhere.
"""

import argparse
import os
import signal
import sys
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from typing import NoReturn

import psycopg
import structlog
from sqlalchemy import Connection, text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.orm import Session, sessionmaker

from runtime.logs import configure_logging
from runtime.priority import lower_priority
from runtime.settings import ServiceSettings
from runtime.termination import NO_TERMINATION, Termination
from store.db import DATABASE_AWAY, JOBS_CHANNEL, make_engine, make_sessions
from store.mlflow import Subject, exports, mirror, mirror_problems
from studies.rendering import Renderer
from worker.mirror.connection import locked_connection, wait_for_change
from worker.mirror.deletions import Deletions
from worker.mirror.experiments import Experiments
from worker.mirror.failures import Failures, Outage
from worker.mirror.models import ExportBroken, ModelLogger
from worker.mirror.projection import Projection
from worker.mirror.tracking import Tracking
from worker.startup import wait_for_storage

log = structlog.get_logger("worker.mirror")

JOBS_AT_ONCE = 50
#: Passes begin at least so far apart: what changes meanwhile goes together.
PASS_SECONDS = 2.0
LONGEST_BACKOFF_SECONDS = 30.0


class Settings(ServiceSettings):
    """What the environment says (NORMLAB_*)."""

    mlflow_url: str
    # Of the links in reports that people follow.
    public_mlflow_url: str | None = None


def main(arguments: list[str] | None = None) -> int:
    options = _parser().parse_args(arguments)
    # Every step may be repeated, so the mirror leaves where it stands.
    termination = Termination(signal.SIGTERM)
    lower_priority()
    # MLflow would print an address for every run: the one inside this network.
    os.environ["MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT"] = "true"
    settings = Settings()
    configure_logging(settings.log_level)
    _check_storage(settings, termination)
    tracking = Tracking(settings.mlflow_url)
    if options.rebuild:
        rebuild(settings, tracking)
    if options.once:
        return drain(settings, tracking, termination)
    if not options.rebuild:
        follow(settings, tracking, termination)
    return 0


def _check_storage(settings: Settings, termination: Termination) -> None:
    engine = make_engine(settings.database_url, pool_size=1)
    # It only reads there.
    wait_for_storage(
        make_sessions(engine), settings.storage, must_write=False, termination=termination
    )
    engine.dispose()


def follow(settings: Settings, tracking: Tracking, termination: Termination) -> NoReturn:
    """Mirrors until the process is stopped; waits out outages."""
    failures = 0
    is_new = True
    while True:
        try:
            with (
                locked_connection(settings.database_url, termination) as connection,
                closing(Mirroring(settings, tracking, connection)) as mirroring,
            ):
                if is_new:
                    mirroring.failures.end_pauses()
                    is_new = False
                while True:
                    termination.check()
                    started = time.monotonic()
                    done = mirroring.run_pass()
                    failures = 0
                    if not done.cut_short:
                        wait_for_change(connection)
                        time.sleep(max(0.0, started + PASS_SECONDS - time.monotonic()))
        except (*DATABASE_AWAY, DBAPIError, psycopg.Error, Outage) as error:
            failures += 1
            pause = min(LONGEST_BACKOFF_SECONDS, 2.0 ** min(failures - 1, 10))
            log.warning("mirror_waits", error=str(error)[:300], seconds=pause)
            termination.check()
            time.sleep(pause)


def drain(settings: Settings, tracking: Tracking, termination: Termination = NO_TERMINATION) -> int:
    """Mirrors all that is due, once; 1 when something could not be mirrored."""
    with (
        locked_connection(settings.database_url, termination) as connection,
        closing(Mirroring(settings, tracking, connection)) as mirroring,
    ):
        mirroring.failures.end_pauses()
        while not mirroring.run_pass().idle:
            termination.check()
        return 1 if mirroring.failures.are_waiting() else 0


def rebuild(settings: Settings, tracking: Tracking) -> None:
    """Forgets how far MLflow is and bins the runs so far: a mirror, also a running one, sends everything again."""
    engine = make_engine(settings.database_url, pool_size=1)
    with Session(engine) as session, session.begin():
        forgotten = mirror.forget_all(session)
        session.execute(text(f"NOTIFY {JOBS_CHANNEL}"))
    engine.dispose()
    for run_id, model_id in forgotten:
        tracking.retire_run(run_id, model_id)
    log.info("mirror_forgot", runs=len(forgotten))


@dataclass(frozen=True, slots=True)
class Pass:
    """What one pass has tried."""

    jobs: int
    studies: int
    files: int
    models: int

    @property
    def idle(self) -> bool:
        return not (self.jobs or self.studies or self.files or self.models)

    @property
    def cut_short(self) -> bool:
        """More was due than one pass takes."""
        return self.jobs == JOBS_AT_ONCE or self.files > 0 or self.models > 0


class Mirroring:
    """The passes of one mirror over one locked connection."""

    def __init__(self, settings: Settings, tracking: Tracking, connection: Connection) -> None:
        self.tracking = tracking
        self.models = ModelLogger(settings.mlflow_url, settings.storage)
        self.sessions = sessionmaker(connection, expire_on_commit=False)
        links = settings.public_mlflow_url or settings.mlflow_url
        experiments = Experiments(self.sessions, tracking)
        deletions = Deletions(self.sessions, tracking, experiments)
        self.failures = Failures(self.sessions, tracking, experiments, deletions)
        self.projection = Projection(
            self.sessions, settings.storage, tracking, experiments, links, Renderer()
        )

    def run_pass(self) -> Pass:
        """Jobs first, then studies, some files, one model: what is slow must not keep numbers waiting."""
        self.failures.find_deletions()
        return Pass(
            self._mirror_jobs(), self._mirror_studies(), self._send_files(), self._log_next_model()
        )

    def close(self) -> None:
        self.models.close()

    def _mirror_jobs(self) -> int:
        with self.sessions.begin() as session:
            due = mirror.due_jobs(session, JOBS_AT_ONCE)
            records = mirror.read_jobs(session, due)
            studies = {record.job.study_id for record in records}
            parents = mirror.runs_of_studies(session, [one for one in studies if one is not None])
        for record in records:
            with self.failures.noted(Subject("run", job_id=record.job.id), record.mirrored):
                study_id = record.job.study_id
                if study_id is not None and study_id not in parents:
                    parents[study_id] = self._open_study(study_id)
                self.projection.mirror_job(record, parents.get(study_id or 0))
        return len(records)

    def _open_study(self, study_id: int) -> str:
        with self.sessions.begin() as session:
            record = mirror.read_study(session, study_id)
        return self.projection.open_study(record).run_id

    def _mirror_studies(self) -> int:
        with self.sessions.begin() as session:
            due = mirror.due_studies(session)
        for study_id in due:
            with self.sessions.begin() as session:
                record = mirror.read_study(session, study_id)
            with self.failures.noted(Subject("run", study_id=study_id), record.mirrored):
                self.projection.mirror_study(record)
        return len(due)

    def _send_files(self) -> int:
        """At least one run's files, if any are due, and more until a pass's length is over."""
        sent = 0
        until = time.monotonic() + PASS_SECONDS
        while sent == 0 or time.monotonic() < until:
            with self.sessions.begin() as session:
                row = exports.next_files(session)
            if row is None:
                break
            with self.failures.noted(
                Subject("files", job_id=row.job_id, study_id=row.study_id), row
            ):
                self.projection.send_files(row)
            sent += 1
        return sent

    def _log_next_model(self) -> int:
        with self.sessions.begin() as session:
            job_id = exports.next_model(session)
            if job_id is None:
                self.models.close()
                return 0
            record = mirror.read_jobs(session, [job_id])[0]
            checkpoint = exports.best_checkpoint(session, job_id)
        assert record.mirrored is not None
        subject = Subject("model", job_id=job_id)
        outcome = None
        with self.failures.noted(subject, record.mirrored):
            self.tracking.ensure_active(record.mirrored.run_id)
            with self._counted_export(job_id) as number:
                outcome = self.models.log_model(record, checkpoint, number)
                # Counted as well: a model that is exported but not noted is asked for again.
                self.projection.note_model(record, outcome)
        # A job without any finite epoch has no best weights: nothing is lacking.
        if outcome is not None and not outcome.is_sent and checkpoint is not None:
            with self.sessions.begin() as session:
                mirror_problems.note(session, subject, f"its model: {outcome.detail}")
        return 1

    @contextmanager
    def _counted_export(self, job_id: int) -> Iterator[int]:
        """The number of this try. One that ended because MLflow or this process did is taken back."""
        with self.sessions.begin() as session:
            number = exports.begin(session, job_id)
        try:
            yield number
        except ExportBroken:
            raise
        except BaseException:
            with suppress(*DATABASE_AWAY), self.sessions.begin() as session:
                exports.take_back(session, job_id)
            raise


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m worker.mirror", description=__doc__)
    parser.add_argument("--once", action="store_true", help="mirror all that is due, then leave")
    parser.add_argument(
        "--rebuild",
        action="store_true",
        help="forget how far MLflow is, so that everything is sent again, to new runs (by the mirror at work, "
        "or at once with --once)",
    )
    return parser


if __name__ == "__main__":
    sys.exit(main())
