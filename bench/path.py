"""What the way through the service costs a job: acquiring, lease, records. Needs no broker: nobody is woken."""

import functools
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from statistics import median

from sqlalchemy.orm import Session, sessionmaker

from migrations.run import upgrade
from normlab.stack.servers import Postgres
from store.accounts import users
from store.catalog import datasets
from store.db.engine import make_engine, make_sessions
from store.jobs import commands, leases
from store.jobs.commands import NewJob
from trainer.data.loading import load
from trainer.spec.builtin import BUILT_IN
from trainer.spec.dataset import DatasetSpec
from trainer.spec.job import JobSpec, Numerics
from trainer.training.loop import train
from worker.execution.drain import Drain
from worker.execution.execute import ExecutionContext, execute
from worker.execution.heartbeat import LeaseTiming

HOST = "bench"
JOBS = 8
EPOCHS = 3


@dataclass(frozen=True, slots=True)
class PathCost:
    """Medians over the repeats, of one job; `cost` is the median of each repeat's difference."""

    commands: int
    epochs: int
    alone_milliseconds: float
    service_milliseconds: float
    cost_milliseconds: float


def measure_path(folder: Path, *, repeats: int) -> PathCost:
    """The same jobs both ways, in turn, so that what else the machine does hits both alike."""
    with _database(folder / "postgres") as sessions:
        context = _build_context(sessions, folder / "storage")
        _train_alone(folder / "warm", context)
        turns = [
            (_train_alone(folder / f"alone-{turn}", context), _train_acquired(context))
            for turn in range(repeats)
        ]
    milliseconds = 1000 / JOBS
    return PathCost(
        JOBS,
        EPOCHS,
        milliseconds * median(alone for alone, _ in turns),
        milliseconds * median(in_service for _, in_service in turns),
        milliseconds * median(in_service - alone for alone, in_service in turns),
    )


def _train_alone(folder: Path, context: ExecutionContext) -> float:
    """Seconds for all jobs."""
    began = time.perf_counter()
    for seed in range(JOBS):
        spec = _spec(seed)
        data = context.load(spec.dataset, BUILT_IN["digits"])
        for _ in train(spec, data, folder / str(seed) / "attempt-1"):
            pass
    return time.perf_counter() - began


def _train_acquired(context: ExecutionContext) -> float:
    """Seconds for all jobs, from their rows to their results."""
    with context.sessions.begin() as session:
        owner = users.find(session, "bench") or users.create_user(session, "bench", "admin")
        dataset = datasets.find(session, "digits")
        assert dataset is not None
        new = [NewJob(_spec(seed), f"seed {seed}") for seed in range(JOBS)]
        commands.create(session, owner, "bench", dataset, new)
    began = time.perf_counter()
    while _acquire_and_execute(context):
        pass
    return time.perf_counter() - began


def _acquire_and_execute(context: ExecutionContext) -> bool:
    acquired_at = time.monotonic()
    with context.sessions.begin() as session:
        assignment = commands.acquire(
            session,
            HOST,
            1,
            lease_seconds=context.timing.lease,
            numerics=lambda device: Numerics(),
        )
    return assignment is not None and execute(assignment, context, acquired_at)


def _spec(seed: int) -> JobSpec:
    return JobSpec.model_validate(
        {
            "project": "bench",
            "dataset": {"name": "digits"},
            "model": {"name": "cnn", "width": 8},
            "norm": {"kind": "batch"},
            "training": {"epochs": EPOCHS},
            "seed": seed,
        }
    )


def _build_context(sessions: sessionmaker[Session], storage: Path) -> ExecutionContext:
    with sessions.begin() as session:
        datasets.seed_built_in(session)
        leases.register_worker(session, HOST, 1, [("cpu", 0, "bench", 1)])
    cached = functools.lru_cache(1)(functools.partial(load, folder=storage / "datasets"))
    cached(DatasetSpec(name="digits"), BUILT_IN["digits"])
    return ExecutionContext(
        sessions=sessions,
        storage=storage,
        data_roots=(),
        parent=os.getppid(),
        load=cached,
        timing=LeaseTiming(90.0, 2.0, 600.0),
        drain=Drain(),
    )


@contextmanager
def _database(folder: Path) -> Iterator[sessionmaker[Session]]:
    server = Postgres(folder)
    server.start()
    try:
        server.create_databases("bench")
        upgrade(server.url("bench"))
        engine = make_engine(server.url("bench"))
        yield make_sessions(engine)
        engine.dispose()
    finally:
        server.stop()
