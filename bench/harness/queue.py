"""A database with a queue of jobs, and a worker's child that works it off in the calling process."""

import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sqlalchemy import Engine
from sqlalchemy.orm import Session, sessionmaker

from bench.harness.database import make_database
from normlab.stack.servers import Redis
from store.accounts import users
from store.catalog import datasets
from store.db.engine import make_sessions
from store.jobs import commands, leases
from store.jobs.commands import NewJob
from trainer.spec.job import JobSpec
from worker.execution import Drain
from worker.host.child import Child
from worker.settings import Settings


@dataclass(frozen=True, slots=True)
class Queue:
    """Servers of its own, durable as in service; its tables hold the built-in datasets."""

    database_url: str
    redis_url: str
    storage: Path
    engine: Engine
    sessions: sessionmaker[Session]

    def submit(self, documents: Iterable[dict[str, Any]]) -> None:
        with self.sessions.begin() as session:
            owner = users.find(session, "bench") or users.create_user(session, "bench", "admin")
            dataset = datasets.find(session, "digits")
            assert dataset is not None
            specs = [JobSpec.model_validate(document) for document in documents]
            new = [NewJob(spec, f"{number}") for number, spec in enumerate(specs)]
            commands.create(session, owner, "bench", dataset, new)

    def settings(self, host: str = "bench") -> Settings:
        return Settings(
            database_url=self.database_url,
            redis_url=self.redis_url,
            storage=self.storage,
            host_name=host,
            cpu_threads=1,
        )

    def register(self, host: str = "bench", slots: int = 1) -> None:
        with self.sessions.begin() as session:
            leases.register_worker(session, host, 1, [("cpu", 0, "bench", slots)])

    def make_child(self, host: str = "bench") -> Child:
        return Child(self.settings(host), Drain(), os.getppid())


@contextmanager
def make_queue(folder: Path) -> Iterator[Queue]:
    with make_database(folder) as (postgres, engine):
        redis = Redis(folder / "redis")
        redis.start()
        try:
            storage = folder / "storage"
            storage.mkdir()
            url = postgres.url("bench")
            yield Queue(url, redis.url, storage, engine, make_sessions(engine))
        finally:
            redis.stop()
