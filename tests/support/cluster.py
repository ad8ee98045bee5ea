"""Servers and worker processes for tests that break them: a PostgreSQL, a Redis and workers of their own."""

import os
import signal
import sys
from collections.abc import Callable, Sequence
from contextlib import suppress
from datetime import timedelta
from pathlib import Path
from typing import Any

import psutil
from sqlalchemy import Engine, func, select, text, update
from sqlalchemy.exc import OperationalError
from sqlalchemy.orm import Session, sessionmaker

from migrations.rights import apply_rights
from migrations.roles import WORKER
from migrations.run import upgrade
from normlab.stack.servers import Postgres, Redis
from runtime.helper_process import start_preloaded
from store.accounts import users
from store.catalog import datasets
from store.db.engine import make_engine, make_sessions
from store.db.models import (
    FINAL_STATUSES,
    Attempt,
    Checkpoint,
    Epoch,
    Job,
    Transition,
    User,
    Worker,
)
from store.jobs import commands, wakeups
from tests.support.waiting import LONGEST_PAUSE_SECONDS, PATIENCE_SECONDS, wait_for
from trainer.spec.job import JobSpec

#: A busy machine renews in this time too.
LEASE_SECONDS = 10.0


def make_spec(**changes: Any) -> JobSpec:
    """A tiny network on real data; small batches make an epoch about a tenth of a second long."""
    document = {
        "dataset": {"name": "digits"},
        "model": {"name": "mlp", "hidden": [16]},
        "norm": {"kind": "batch"},
        "regularization": [{"kind": "dropout", "p": 0.1}],
        "optimizer": {"kind": "sgd", "lr": 0.01, "momentum": 0.9},
        "training": {"epochs": 3, "batch_size": 8, "checkpoint_seconds": 1.0},
        "resources": {"device": "cpu", "timeout": 3600},
    }
    return JobSpec.model_validate(document | changes)


LONG_EPOCHS = 40


def long_training(epochs: int = LONG_EPOCHS) -> dict[str, Any]:
    """Some seconds of work, to be hit in the middle on a fast machine, too; saved about once an epoch."""
    return {"epochs": epochs, "batch_size": 8, "checkpoint_seconds": 0.1}


class Program:
    """One `python -m …` of a cluster; `environment` is added to this process's."""

    def __init__(self, name: str, environment: dict[str, str], log: Path) -> None:
        self.log = log
        with log.open("ab") as file, open(os.devnull, "rb") as nothing:
            self.process = start_preloaded(
                [sys.executable, "-m", name],
                environment,
                stdin=nothing.fileno(),
                stdout=file.fileno(),
                stderr=file.fileno(),
                own_session=True,
            )

    def children(self) -> list[int]:
        """Forked ones: they are called like their parent, other than what an import runs for a moment."""
        with suppress(psutil.NoSuchProcess):
            parent = psutil.Process(self.process.pid)
            return [one.pid for one in parent.children() if one.cmdline() == parent.cmdline()]
        return []

    def terminate(self, seconds: float = PATIENCE_SECONDS) -> int:
        """SIGTERM to the parent alone; its exit status."""
        self.process.terminate()
        return self.process.wait(seconds)

    def kill(self) -> None:
        with suppress(psutil.NoSuchProcess):
            self.process.kill()
        self.process.wait()

    def end(self) -> None:
        """However it is: nothing is left of its group afterwards."""
        if self.process.poll() is None:
            # It may end at this moment.
            with suppress(psutil.NoSuchProcess):
                self.process.terminate()
            with suppress(psutil.TimeoutExpired):
                self.process.wait(10)
        with suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()


class Cluster:
    """Servers, storage and programs; `logs` shows what the workers wrote."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.storage = folder / "storage"
        self.postgres = Postgres(folder / "postgres", durable=False)
        self.redis = Redis(folder / "redis")
        self.programs: list[Program] = []
        self.engine: Engine
        self.sessions: sessionmaker[Session]

    def open(self) -> None:
        self.postgres.start()
        self.postgres.create_databases("normlab")
        self.redis.start()
        url = self.postgres.url("normlab")
        upgrade(url)
        apply_rights(url, {WORKER: self.postgres.password(WORKER)})
        self.engine = make_engine(url)
        self.sessions = make_sessions(self.engine)
        with self.sessions.begin() as session:
            datasets.seed_built_in(session)
            users.create_user(session, "ada", "member")

    def close(self) -> None:
        self.end_programs()
        self.engine.dispose()
        self.redis.stop()
        self.postgres.stop()

    def end_programs(self) -> None:
        for program in self.programs:
            program.end()
        self.programs.clear()

    def start(self, name: str = "worker", **settings: str) -> Program:
        """`worker` or `worker.sweep`, with the short rhythm that tests need."""
        environment = {
            "NORMLAB_DATABASE_URL": self.postgres.url("normlab", WORKER),
            "NORMLAB_REDIS_URL": self.redis.url,
            "NORMLAB_STORAGE": str(self.storage),
            "NORMLAB_HOST_NAME": "here",
            "NORMLAB_CPU_SLOTS": "1",
            "NORMLAB_LEASE_SECONDS": str(LEASE_SECONDS),
            "NORMLAB_HEARTBEAT_SECONDS": "0.3",
            "NORMLAB_SWEEP_SECONDS": "0.5",
            "OMP_NUM_THREADS": "1",
            **settings,
        }
        program = Program(name, environment, self.folder / f"{name}.log")
        self.programs.append(program)
        return program

    def ensure_worker(self, name: str = "worker") -> Program:
        """The program of this name that an earlier test left running, or a new one."""
        for program in self.programs:
            if program.process.poll() is None and program.log.name == f"{name}.log":
                return program
        return self.start(name)

    def submit(
        self, *specs: JobSpec, wake: bool = True, trace_context: str | None = None
    ) -> list[int]:
        """As the API does: commit, then send wake-ups."""
        with self.sessions.begin() as session:
            ada = session.scalars(select(User).where(User.name == "ada")).one()
            dataset = datasets.find(session, "digits")
            assert dataset is not None
            new = [commands.NewJob(spec, f"job {number}") for number, spec in enumerate(specs)]
            jobs = commands.create(session, ada, "faults", dataset, new)
            for job in jobs:
                job.trace_context = trace_context
            ids = [job.id for job in jobs]
        if wake:
            self.wake()
        return ids

    def wake(self) -> None:
        with self.sessions.begin() as session:
            due = wakeups.due(session)
        celery = wakeups.make_celery(self.redis.url)
        wakeups.send(celery, due)
        celery.close()

    def job(self, job_id: int) -> Job:
        with self.sessions.begin() as session:
            return session.get_one(Job, job_id)

    def request_action(self, job_id: int, action: Any) -> None:
        with self.sessions.begin() as session:
            commands.request_action(session, session.get_one(Job, job_id), action, "ada")

    def attempts(self, job_id: int) -> Sequence[Attempt]:
        with self.sessions.begin() as session:
            query = select(Attempt).where(Attempt.job_id == job_id).order_by(Attempt.number)
            return session.scalars(query).all()

    def epochs(self, job_id: int) -> Sequence[Epoch]:
        with self.sessions.begin() as session:
            query = select(Epoch).where(Epoch.job_id == job_id).order_by(Epoch.epoch)
            return session.scalars(query).all()

    def checkpoints(self, job_id: int) -> Sequence[Checkpoint]:
        with self.sessions.begin() as session:
            query = select(Checkpoint).where(Checkpoint.job_id == job_id)
            return session.scalars(query.order_by(Checkpoint.id)).all()

    def ends(self, job_id: int) -> list[str]:
        """The final statuses that the job's history shows: exactly one is right."""
        with self.sessions.begin() as session:
            query = select(Transition.to_status).where(Transition.job_id == job_id)
            statuses = session.scalars(query.order_by(Transition.id)).all()
        return [status for status in statuses if status in FINAL_STATUSES]

    def wait(self, job_id: int, *statuses: str, seconds: float = 600.0) -> Job:
        """Until the job has one of these statuses (by default: any final one)."""
        wanted = statuses or FINAL_STATUSES
        self.until(lambda: self.job(job_id).status in wanted, f"{wanted} of {job_id}", seconds)
        return self.job(job_id)

    def wait_for_success(self, job_id: int, seconds: float = 600.0) -> Job:
        """One final status, and that a success."""
        job = self.wait(job_id, seconds=seconds)
        assert job.status == "succeeded", f"{job.error}\n{self.logs()}"
        assert self.ends(job_id) == ["succeeded"]
        return job

    def wait_for_epochs(self, job_id: int, epochs: int = 1, attempt: int = 1) -> None:
        """Until an attempt has finished so many epochs; the job has more of them before it."""

        def are_there() -> bool:
            return sum(row.attempt == attempt for row in self.epochs(job_id)) >= epochs

        what = f"{epochs} epochs of {job_id} in attempt {attempt}"
        self.until(are_there, what, longest_pause=0.05)

    def until(
        self,
        holds: Callable[[], bool],
        what: str,
        seconds: float = 600.0,
        longest_pause: float = LONGEST_PAUSE_SECONDS,
    ) -> None:
        wait_for(holds, lambda: f"{what}\n{self.logs()}", seconds, longest_pause=longest_pause)

    def logs(self) -> str:
        return "\n".join(log.read_text()[-6000:] for log in self.folder.glob("worker*.log"))

    def mark_host_dead(self, host: str) -> None:
        """Its worker is known to be gone; otherwise that takes longer than a test should."""
        with self.sessions.begin() as session:
            long_ago = func.now() - timedelta(hours=1)
            session.execute(update(Worker).where(Worker.host == host).values(seen_at=long_ago))

    def clear(self) -> None:
        """No job is left of the test before; what runs without one goes on running."""
        self.until(self._is_cleared, "an empty table of jobs")

    def _is_cleared(self) -> bool:
        """False when the running worker's last words about a job and this waited for each other."""
        try:
            with self.sessions.begin() as session:
                session.execute(text("TRUNCATE jobs CASCADE"))
        except OperationalError:
            return False
        return True
