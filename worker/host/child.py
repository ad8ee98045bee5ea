"""What a wake-up does in a child: acquire a job, execute it, again until nothing is left. Composes the child."""

import functools
import logging
import os
import sys
import time
from typing import Any

import structlog
from celery import Celery
from celery.signals import worker_process_shutdown
from sqlalchemy.orm import Session, sessionmaker

from runtime.tracing import make_traces
from store.db import DATABASE_AWAY, make_engine, make_sessions
from store.hosts import Shortage, gpu_memory, host_health
from store.jobs import Assignment, Settled, Waker, commands, wakeups
from trainer.data import load
from worker.execution import Drain, ExecutionContext, LeaseTiming, Space, execute
from worker.host.gpus import GpuWatch, make_gpus
from worker.host.offers import decide_numerics
from worker.settings import Settings

log = structlog.get_logger(__name__)

#: Loaded data kept in a child for the next jobs of the same study.
KEPT_DATASETS = 2


def add_task(app: Celery, settings: Settings, drain: Drain, instance: str, gpus: GpuWatch) -> None:
    """Register the one task. What it needs is made in the child, at its first wake-up: after the fork."""
    parent = os.getpid()
    child = functools.cache(lambda: Child(settings, drain, parent, instance, gpus))

    @app.task(name=wakeups.TASK, ignore_result=True)  # type: ignore[untyped-decorator]
    def work() -> None:
        child().work()

    # In the child, when it is told to end.
    def close(**_: Any) -> None:
        if child.cache_info().currsize:
            child().close()

    worker_process_shutdown.connect(close, weak=False)


class Child:
    """One forked process: its database connections, its loaded data, its way to send wake-ups."""

    def __init__(
        self,
        settings: Settings,
        drain: Drain,
        parent: int,
        instance: str | None = None,
        gpus: GpuWatch | None = None,
    ) -> None:
        self._settings = settings
        # Without one nothing is measured.
        self._gpus = gpus or GpuWatch(make_gpus(settings), (), parent)
        self._instance = instance
        self._parent = parent
        self._drain = drain
        self._warm: tuple[str, int] | None = None
        # One connection is kept: a host of many slots would else use up those of the server.
        engine = make_engine(settings.database_url, pool_size=1)
        self._sessions: sessionmaker[Session] = make_sessions(engine)
        self._waker = Waker(self._sessions, wakeups.make_celery(settings.redis_url))
        self._space = Space.of(settings)
        self._traces = make_traces("worker")
        self._context = ExecutionContext(
            sessions=self._sessions,
            host=settings.host_name,
            storage=settings.storage,
            space=self._space,
            data_roots=settings.data_roots,
            parent=parent,
            load=functools.lru_cache(KEPT_DATASETS)(
                functools.partial(load, folder=settings.storage.root / "datasets")
            ),
            timing=LeaseTiming(
                settings.lease_seconds, settings.renewal_seconds, settings.stall_seconds
            ),
            drain=drain,
            instance=instance,
            traces=self._traces,
            gpu_bytes=self._gpus.process_bytes,
            are_gpus_fake=settings.fake_gpus is not None,
        )

    def work(self) -> None:
        """Until no job is runnable. Others are woken only after this child has taken its next job.

        An orphan acquires nothing: it would work on for ever, and keep the next parent from its host's name.
        """
        finished_one = False
        while not self._drain.begun and os.getppid() == self._parent:
            if shortage := self._space.shortage():
                self._refuse(shortage)
                return
            # Before the request, so that this process never trusts its lease for longer than the
            # database does.
            acquired_at = time.monotonic()
            assignment = self._acquire()
            if isinstance(assignment, Settled):
                continue
            if assignment is not None:
                self._warm = assignment.devices[0].kind, assignment.devices[0].number
            # Another host's wake-up, too, where this one gets no job. One that merely finds none wakes nobody: two such
            # hosts would wake each other for ever.
            if finished_one or (assignment is None and self._is_held()):
                self._waker.wake()
            if assignment is None:
                if self._holds_memory():
                    self._exit_process()
                return
            if not execute(assignment, self._context, acquired_at):
                self._exit_process()
            finished_one = True

    def close(self) -> None:
        """Sends what is left to be sent."""
        self._traces.close()

    def _refuse(self, shortage: Shortage) -> None:
        """Pass the wake-up on to the hosts that have room; this one's parent says when it has some again."""
        log.warning("no job is acquired", reason=shortage.detail)
        try:
            with self._sessions.begin() as session:
                host_health.report_shortage(
                    session, self._settings.host_name, shortage, self._instance
                )
        except DATABASE_AWAY as error:
            log.warning("the shortage is not reported: the database is away", error=str(error))
        self._waker.wake()

    def _acquire(self) -> Assignment | Settled | None:
        try:
            # What others use may have changed since the host last said it.
            if memory := self._gpus.read():
                with self._sessions.begin() as session:
                    gpu_memory.report(session, self._settings.host_name, memory, self._instance)
            with self._sessions.begin() as session:
                return commands.acquire(
                    session,
                    self._settings.host_name,
                    os.getpid(),
                    lease_seconds=self._settings.lease_seconds,
                    numerics=functools.partial(decide_numerics, self._settings),
                    warm=self._warm,
                    only_warm=self._holds_memory(),
                    instance=self._instance,
                )
        except DATABASE_AWAY as error:
            log.warning("no job is acquired: the database is away", error=str(error))
            return None

    def _holds_memory(self) -> bool:
        """Of a GPU on which what jobs take is booked: a process keeps its CUDA context until it ends, which nobody has
        booked between two jobs."""
        return self._settings.fake_gpus is None and self._gpus.measures(self._warm)

    def _is_held(self) -> bool:
        try:
            with self._sessions.begin() as session:
                return host_health.is_held(session, self._settings.host_name)
        except DATABASE_AWAY:
            return False

    def _exit_process(self) -> None:
        """End this process now: only that gives back all of its memory and its device."""
        log.warning("this worker process ends; its parent starts another")
        # Its slot is free again, and one that lived for a moment only is missed by the parent's watch.
        self._waker.wake()
        self._waker.close()
        self._traces.close()
        logging.shutdown()
        sys.stdout.flush()
        os._exit(1)
