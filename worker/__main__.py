"""`python -m worker`: the parent process of a host's workers, from its registration to its drain."""

import gc
import os
import signal
import sys
import threading
import warnings
from collections.abc import Sequence
from typing import Any

# Read by cuBLAS when a child first uses it; without it, deterministic mode refuses to work.
os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")

import structlog
from celery import Celery
from celery.platforms import SecurityWarning
from celery.signals import worker_shutting_down
from sqlalchemy.orm import Session, sessionmaker

from runtime.logs import configure_logging
from runtime.metrics import make_registry, serve
from runtime.process import Termination
from runtime.tracing import prepare_traces
from store.db import DATABASE_AWAY, make_engine, make_sessions
from store.hosts import Holder
from store.jobs import EndedAttempt, Instance, Waker, leases, wakeups
from worker.execution import Drain, Space, forget_abandoned_stacks
from worker.host.celery_app import make_app, when_forked
from worker.host.child import add_task
from worker.host.child_watch import ChildWatch, end_orphaned_attempts
from worker.host.devices import HostDevice, find_devices
from worker.host.gpus import GpuWatch, make_gpus
from worker.host.host_lock import HostName, is_gone, make_instance
from worker.host.host_report import HostReport
from worker.host.offers import describe_offers, describe_packages
from worker.settings import Settings
from worker.startup import delete_abandoned, wait_for_database, wait_for_storage

log = structlog.get_logger("worker")


def main() -> int:
    """Exit status 0 after a drain; 1 when another worker has this host's name, or the storage isn't the one."""
    settings = Settings()
    configure_logging(settings.log_level)
    # Loaded before the forks; the children and, after them, this process make what they send with.
    traced: list[EndedAttempt] | None = [] if prepare_traces() else None
    drain = Drain()
    # Before Celery takes the signals there is nothing to save: leave at once.
    termination = Termination(signal.SIGTERM, signal.SIGINT)
    watches: list[ChildWatch] = []
    _drain_on_shutdown(drain, watches)
    sessions = make_sessions(make_engine(settings.database_url))
    wait_for_storage(sessions, settings.storage, termination=termination)
    instance = make_instance()
    name = HostName(settings.database_url, settings.host_name, instance)
    try:
        previous = name.take(settings.host_lock_seconds, termination)
        settings = settings.model_copy(update={"host_name": name.host})
        gpus = make_gpus(settings)
        found = () if settings.gpu_slots == 0 else gpus.find()
        devices = find_devices(settings, found)
        watch = GpuWatch(gpus, found, os.getpid())
        report = HostReport(settings.host_name, Space.of(settings), instance.id, gpus=watch)
        _register(settings, sessions, instance, devices, previous, report, termination, traced)
        # After the attempts of the worker before have ended, which read them.
        forget_abandoned_stacks()
        delete_abandoned(settings.storage.root)
        try:
            termination.check()
            slots = sum(device.slots for device in devices)
            return _serve(
                settings,
                sessions,
                drain,
                slots,
                name,
                instance,
                report,
                termination,
                watches,
                watch,
                traced,
            )
        finally:
            _say_ended(sessions, settings.host_name, instance)
    finally:
        name.release()


def _drain_on_shutdown(drain: Drain, watches: Sequence[ChildWatch]) -> None:
    def begin(**_: Any) -> None:
        drain.begin()
        for watch in watches:
            watch.look()

    worker_shutting_down.connect(begin, weak=False)


def _register(
    settings: Settings,
    sessions: sessionmaker[Session],
    instance: Instance,
    devices: tuple[HostDevice, ...],
    previous: Holder | None,
    report: HostReport,
    termination: Termination,
    traced: list[EndedAttempt] | None,
) -> None:
    """Retried for ever: a host that comes up before its database waits for it.

    Attempts of the worker before this one end at once where its processes are known to be gone.
    """
    host = settings.host_name
    offers, packages = describe_offers(settings, devices), describe_packages()
    is_gone_before = previous is not None and is_gone(previous, instance)
    if previous is not None and not is_gone_before:
        log.warning(
            "the last worker of this name cannot be seen from here: its leases decide", host=host
        )

    def register() -> None:
        with sessions.begin() as session:
            leases.register_worker(
                session,
                host,
                instance.process,
                [(device.kind, device.number, device.name, device.slots) for device in devices],
                instance,
                offers,
                {one.number: one.memory_bytes for one in devices if one.memory_bytes is not None},
                packages,
            )
            report.send(session)
        if previous is not None and is_gone_before:
            end_orphaned_attempts(sessions, host, lambda: (), previous.instance, traced=traced)

    wait_for_database(register, termination=termination)
    log.info("registered", host=host, devices=[device.name for device in devices])


def _say_ended(sessions: sessionmaker[Session], host: str, instance: Instance) -> None:
    """So that the next worker of this name, on whatever machine, need not wait."""
    try:
        with sessions.begin() as session:
            leases.worker_ended(session, host, instance.id)
    except DATABASE_AWAY as error:
        log.warning("the database is away: this worker's end is not recorded", error=str(error))


def _serve(
    settings: Settings,
    sessions: sessionmaker[Session],
    drain: Drain,
    slots: int,
    name: HostName,
    instance: Instance,
    report: HostReport,
    termination: Termination,
    watches: list[ChildWatch],
    gpus: GpuWatch,
    traced: list[EndedAttempt] | None,
) -> int:
    app = make_app(settings)
    add_task(app, settings, drain, instance.id, gpus)
    taken = threading.Event()

    def leave() -> None:
        log.error(
            "another worker has taken this host's name while the database was out of reach: this worker saves its "
            "jobs and ends; set NORMLAB_HOST_NAME to another name for one of the two",
            host=settings.host_name,
        )
        taken.set()
        os.kill(os.getpid(), signal.SIGTERM)

    def begin() -> None:
        waker = Waker(sessions, wakeups.make_celery(settings.redis_url))
        watch = ChildWatch(
            sessions, settings.host_name, drain, report, waker.wake, instance.id, traced
        )
        watches.append(watch)
        name.keep(leave)
        serve(make_registry("worker"), settings.worker_metrics)
        # From here on Celery handles the signal; one that came before may have been lost.
        if termination.is_requested:
            os.kill(os.getpid(), signal.SIGTERM)

    when_forked(app, begin)
    # What is loaded stays. A child's collection that looked through it would take a fifth of a second, perhaps while
    # it holds the lock of all acquisitions.
    gc.collect()
    gc.freeze()
    assert threading.active_count() == 1, "a fork would lose these threads, not the locks they hold"
    status = _consume(app, settings, slots)
    for watch in watches:
        watch.stop()
    return 1 if taken.is_set() else status


def _consume(app: Celery, settings: Settings, slots: int) -> int:
    """Celery's own loop, until a signal; its warm shutdown waits for the children, who are draining."""
    # It warns of pickled messages from strangers when run by root; ours are JSON and carry nothing.
    warnings.simplefilter("ignore", SecurityWarning)
    worker = app.Worker(
        hostname=f"normlab@{settings.host_name}",
        pool_cls="prefork",
        concurrency=slots,
        optimization="fair",
        without_gossip=True,
        without_mingle=True,
        without_heartbeat=True,
        quiet=True,
    )
    worker.start()
    return int(worker.exitcode or 0)


if __name__ == "__main__":
    sys.exit(main())
