"""`python -m worker.mirror`: copies to MLflow what SQL has and MLflow lacks.

One mirror works at a time: its connection holds an advisory lock, hears of changes, and carries all of
its SQL, so whoever has lost the lock can't write a watermark any more. It may be killed anywhere.
"""

import argparse
import signal
import sys
import time
from contextlib import closing
from typing import NoReturn

import psycopg
import structlog
from mlflow.exceptions import MlflowException
from pydantic import Field, SecretStr
from sqlalchemy import Connection, text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.orm import Session, sessionmaker

from runtime.logs import configure_logging
from runtime.metrics import MetricsAddress, Rounds, make_registry, serve
from runtime.process import NO_TERMINATION, Termination, lower_priority
from runtime.settings import ServiceSettings
from runtime.tracing import NO_TRACES, Traces, make_traces
from store.db import DATABASE_AWAY, JOBS_CHANNEL, make_engine, make_sessions
from store.mlflow import mirror
from studies.rendering import Renderer
from worker.mirror.connection import locked_connection, wait_for_changes
from worker.mirror.failures import Outage
from worker.mirror.models import ModelLogger
from worker.mirror.passes import Mirroring
from worker.mirror.tracking import Tracking, log_in
from worker.mirror.verification import Verification
from worker.startup import wait_for_storage

log = structlog.get_logger("worker.mirror")

#: Passes begin at least so far apart: what changes meanwhile goes together.
PASS_SECONDS = 2.0
#: As long as jobs wait for a slot, so far apart: what passes cost, with MLflow and PostgreSQL, is taken from training.
BUSY_PASS_SECONDS = 10.0
#: A pass comes at least so often: for what is tried again.
TIMER_SECONDS = 5.0
#: How often is looked whether an export has ended.
LOOK_SECONDS = 0.2
LONGEST_BACKOFF_SECONDS = 30.0


class Settings(ServiceSettings):
    """What the environment says (NORMLAB_*)."""

    mlflow_url: str
    # What this process alone may write to MLflow with; a server without Normlab's login needs none.
    mlflow_token: SecretStr | None = None
    # Of the links in reports that people follow.
    public_mlflow_url: str | None = None
    # Figures and models wait so long for a moment when no job runs.
    export_wait_seconds: float = Field(default=900.0, ge=0)
    mirror_metrics: MetricsAddress = None


def main(arguments: list[str] | None = None) -> int:
    options = _parser().parse_args(arguments)
    # Every step may be repeated, so the mirror leaves where it stands.
    termination = Termination(signal.SIGTERM)
    is_comparing = options.verify or options.repair
    # Somebody waits for a comparison.
    if not is_comparing:
        lower_priority()
    settings = Settings()
    configure_logging(settings.log_level)
    if settings.mlflow_token is not None:
        log_in(settings.mlflow_token.get_secret_value())
    tracking = Tracking(settings.mlflow_url)
    if is_comparing:
        return verify(settings, tracking, repair=options.repair)
    _check_storage(settings, termination)
    if options.rebuild:
        rebuild(settings, tracking)
    with closing(make_traces("mirror")) as traces:
        if options.once:
            return drain(settings, tracking, termination, traces)
        if not options.rebuild:
            follow(settings, tracking, termination, traces)
    return 0


def _check_storage(settings: Settings, termination: Termination) -> None:
    engine = make_engine(settings.database_url, pool_size=1)
    # It only reads there.
    wait_for_storage(
        make_sessions(engine), settings.storage, must_write=False, termination=termination
    )
    engine.dispose()


def follow(
    settings: Settings, tracking: Tracking, termination: Termination, traces: Traces = NO_TRACES
) -> NoReturn:
    """Mirrors until the process is stopped; waits out outages."""
    registry = make_registry("mirror")
    passes = Rounds(registry, "mirror_pass")
    serve(registry, settings.mirror_metrics)
    failures = 0
    is_new = True
    while True:
        try:
            with (
                locked_connection(settings.database_url, termination) as connection,
                closing(make_mirroring(settings, tracking, connection, traces)) as mirroring,
            ):
                if is_new:
                    mirroring.failures.end_pauses()
                    is_new = False
                while True:
                    started = time.monotonic()
                    with passes.timed():
                        done = mirroring.run_pass()
                    failures = 0
                    if not done.is_cut_short:
                        _rest(connection, mirroring, started, termination)
        except (*DATABASE_AWAY, DBAPIError, psycopg.Error, Outage) as error:
            failures += 1
            pause = min(LONGEST_BACKOFF_SECONDS, 2.0 ** min(failures - 1, 10))
            log.warning("mirror_waits", error=str(error)[:300], seconds=pause)
            termination.check()
            time.sleep(pause)


def _rest(
    connection: Connection, mirroring: Mirroring, started: float, termination: Termination
) -> None:
    """Until the next pass is due: when something has changed, and `shortest_pause` after the last one began."""
    has_changes = False
    while True:
        termination.check()
        now = time.monotonic()
        shortest = shortest_pause(mirroring)
        end = started + (shortest if has_changes else max(shortest, TIMER_SECONDS))
        if now >= end:
            return
        if has_changes:
            step = LOOK_SECONDS if mirroring.exports.is_running else PASS_SECONDS
            time.sleep(min(step, end - now))
        seconds = 0.0 if has_changes else end - now
        if mirroring.exports.is_running:
            seconds = min(seconds, LOOK_SECONDS)
        changes = wait_for_changes(connection, seconds)
        mirroring.note_changes(changes)
        has_changes = has_changes or changes is None or bool(changes)
        if mirroring.exports.is_running:
            mirroring.exports.advance()
        elif mirroring.exports.are_jobs_waiting:
            # The last of them may have got its slot: what has ended by then needn't wait for ten seconds.
            mirroring.exports.look_at_slots()


def shortest_pause(mirroring: Mirroring) -> float:
    """Between the beginnings of two passes."""
    # Where jobs end faster than a few in a second, ten seconds' worth of them would never be caught up with.
    may_wait = mirroring.exports.are_jobs_waiting and not mirroring.is_batch_due
    return BUSY_PASS_SECONDS if may_wait else PASS_SECONDS


def drain(
    settings: Settings,
    tracking: Tracking,
    termination: Termination = NO_TERMINATION,
    traces: Traces = NO_TRACES,
) -> int:
    """Mirrors all that is due, once, also while jobs run; 1 when something could not be mirrored."""
    with (
        locked_connection(settings.database_url, termination) as connection,
        closing(make_mirroring(settings, tracking, connection, traces)) as mirroring,
    ):
        mirroring.failures.end_pauses()
        while not mirroring.run_pass(everything=True).is_idle:
            termination.check()
            mirroring.exports.wait()
        return 1 if mirroring.failures.are_waiting() else 0


def make_mirroring(
    settings: Settings, tracking: Tracking, connection: Connection, traces: Traces = NO_TRACES
) -> Mirroring:
    return Mirroring(
        sessionmaker(connection, expire_on_commit=False),
        tracking,
        ModelLogger(settings.mlflow_url, settings.storage),
        Renderer(),
        storage=settings.storage,
        links=settings.public_mlflow_url or settings.mlflow_url,
        export_wait_seconds=settings.export_wait_seconds,
        traces=traces,
    )


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


def verify(settings: Settings, tracking: Tracking, *, repair: bool) -> int:
    """Prints what MLflow has otherwise than SQL; 1 if anything stays so, 2 where MLflow does not answer."""
    engine = make_engine(settings.database_url, pool_size=1)
    verification = Verification(make_sessions(engine), tracking)
    count = 0
    try:
        for difference in verification.differences():
            count += 1
            sys.stdout.write(f"{difference}\n")
            if repair:
                verification.repair(difference)
    except MlflowException as error:
        sys.stderr.write(f"MLflow at {settings.mlflow_url} cannot be read: {error}\n")
        return 2
    finally:
        engine.dispose()
    sys.stdout.write(verification.summary(count, repaired=repair) + "\n")
    return 1 if count and not repair else 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m worker.mirror", description=__doc__)
    parser.add_argument("--once", action="store_true", help="mirror all that is due, then leave")
    parser.add_argument(
        "--rebuild",
        action="store_true",
        help="forget how far MLflow is, so that everything is sent again, to new runs (by the mirror at work, "
        "or at once with --once)",
    )
    parser.add_argument(
        "--verify",
        action="store_true",
        help="compare the runs of all ended jobs and studies with the database, and leave; exit status 1 if any differs",
    )
    parser.add_argument(
        "--repair",
        action="store_true",
        help="as --verify; what differs is deleted in MLflow and sent again (by the mirror at work)",
    )
    return parser


if __name__ == "__main__":
    sys.exit(main())
