"""Rows for tests, made the way the service makes them, with defaults for all that doesn't matter."""

import threading
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import count
from typing import Any

from sqlalchemy import update
from sqlalchemy.orm import Session, sessionmaker

from store.accounts import users
from store.accounts.users import Role
from store.catalog import datasets
from store.db.models import Dataset, Job, Study, User
from store.hosts import host_health
from store.jobs import commands, leases
from store.jobs.acquire import Assignment
from store.jobs.commands import NewJob
from store.studies import studies
from trainer.events import EpochFinished, Started
from trainer.spec.dataset import DatasetInfo, Parquet
from trainer.spec.job import JobSpec, Numerics

_number = count(1)


def make_spec(**parts: Any) -> JobSpec:
    """A small job on digits; parts replace those of the spec."""
    document: dict[str, Any] = {
        "dataset": {"name": "digits"},
        "model": {"name": "mlp", "hidden": [8]},
        "norm": {"kind": "none"},
        "training": {"epochs": 2},
        **parts,
    }
    return JobSpec.model_validate(document)


def make_user(session: Session, name: str | None = None, role: Role = "member") -> User:
    return users.create_user(session, name or f"user{next(_number)}", role)


def make_token(session: Session, user: User) -> str:
    """The secret of a new token."""
    return users.create_token(session, user, "test")[1]


def find_digits(session: Session) -> Dataset:
    dataset = datasets.find(session, "digits")
    assert dataset is not None
    return dataset


def make_dataset(session: Session, name: str | None = None, *, ready: bool = True) -> Dataset:
    """A registered dataset; its own job is queued unless it is ready."""
    owner = make_user(session)
    name = name or f"set{next(_number)}"
    dataset, job = datasets.register(
        session, owner, name, Parquet(kind="parquet", path=f"/data/{name}")
    )
    if ready:
        datasets.mark_ready(session, dataset.id, make_info(name))
        commands.request_action(session, job, "cancel", "test")
        session.refresh(dataset)
    return dataset


def cancel_registration(session: Session, dataset: Dataset) -> None:
    """The dataset has failed then."""
    job = datasets.registrations(session, [dataset])[dataset.id]
    commands.request_action(session, job, "cancel", "test")


def make_info(name: str = "some") -> DatasetInfo:
    return DatasetInfo(
        name=name,
        digest="0123456789abcdef" * 2,
        shape=(1, 8, 8),
        classes=("cat", "dog"),
        train_size=100,
        test_size=None,
        mean=(0.5,),
        std=(0.25,),
    )


def make_job(
    session: Session,
    owner: User | None = None,
    *,
    dataset: Dataset | None = None,
    name: str = "job",
    reuse: bool = False,
    **parts: Any,
) -> Job:
    """A job without a study; queued unless an equal one answers it."""
    dataset = dataset or find_digits(session)
    spec = make_spec(**{"dataset": {"name": dataset.name}, **parts})
    new = NewJob(spec=spec, name=name, reuse=reuse)
    return commands.create(session, owner or make_user(session), spec.project, dataset, [new])[0]


def make_cells(
    variants: Sequence[str] = ("none", "batch"),
    seeds: Sequence[int] = (0, 1),
    reuse: bool = False,
    **parts: Any,
) -> list[NewJob]:
    return [
        NewJob(
            spec=make_spec(norm={"kind": variant}, seed=seed, **parts),
            name=f"{variant} | seed {seed}",
            variant=variant,
            reuse=reuse,
        )
        for variant in variants
        for seed in seeds
    ]


def make_study(
    session: Session,
    owner: User | None = None,
    cells: Sequence[NewJob] | None = None,
    spec: Mapping[str, Any] | None = None,
) -> Study:
    """A study of two variants and two seeds, all queued."""
    owner = owner or make_user(session)
    document = {"name": "norms", "baseline": "none", **(spec or {})}
    cells = make_cells() if cells is None else cells
    return studies.create(session, owner, document, "default", "norms", cells)


#: What trainings of `finish_training` ran in.
ENVIRONMENT = {"code": "as it is", "torch": host_health.own_versions()["torch"]}


def make_worker(
    session: Session,
    host: str = "alpha",
    *,
    cpu: int = 1,
    cuda: int = 0,
    packages: Sequence[str] = (),
) -> None:
    """A host with so many slots on its CPU and so many GPUs of one slot each, and these packages of plugins."""
    devices = [("cpu", 0, "a processor", cpu)] if cpu else []
    devices += [("cuda", number, "a GPU", 1) for number in range(cuda)]
    offers = [
        {"numerics": choose_numerics(kind).model_dump(mode="json"), "environment": ENVIRONMENT}
        for kind in sorted({device[0] for device in devices})
    ]
    leases.register_worker(session, host, 100, devices, offers=offers, packages=packages)


def acquire_job(session: Session, host: str = "alpha", **options: Any) -> Assignment | None:
    """Acquire as a worker of the host does."""
    settings = {"lease_seconds": 60.0, "numerics": choose_numerics, **options}
    while isinstance(found := commands.acquire(session, host, 101, **settings), commands.Settled):
        pass
    return found


def finish_training(session: Session, job: Assignment, **environment: str) -> None:
    """As a worker of `make_worker` that has trained for two epochs, unless its environment was another."""
    ran_in = {**ENVIRONMENT, **environment}
    started = Started(0, 0, 46, 1000, environment=ran_in, facts={"train_size": 1437})
    commands.record_start(session, job.job_id, job.attempt, started)
    epochs = [
        EpochFinished(number, 23 * number, {"train_loss": 0.5, "val_accuracy": 0.9}, True, 0.1)
        for number in (1, 2)
    ]
    commands.record_epochs(session, job.job_id, job.attempt, epochs)
    metrics = {"test_accuracy": 0.875, "best_epoch": 2.0, "best_val_accuracy": 0.9}
    commands.finish(
        session, job.job_id, job.attempt, reason="completed", metrics=metrics, seconds_used=5.0
    )


def choose_numerics(device: str) -> Numerics:
    return Numerics(device="cuda" if device == "cuda" else "cpu", threads=3)


def set_job(session: Session, job_id: int, **values: Any) -> None:
    """Write columns behind the store's back: for times that a test can't wait for."""
    session.execute(update(Job).where(Job.id == job_id).values(**values))


def in_transactions_at_once(
    sessions: sessionmaker[Session], *writes: Callable[[Session], object]
) -> None:
    """Each in a transaction of its own, which has begun when the others begin."""
    together = threading.Barrier(len(writes))

    def run(write: Callable[[Session], object]) -> None:
        with sessions.begin() as session:
            together.wait()
            write(session)

    with ThreadPoolExecutor(len(writes)) as pool:
        list(pool.map(run, writes))
