"""What must hold of all jobs after whatever was done to the stack: nothing is lost, doubled, changed or left."""

import math
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import httpx
import psutil
import torch
from sqlalchemy import func, select
from sqlalchemy.orm import Session

from runtime.files import digest_of_parts, read_verified
from store.db import FINAL_STATUSES
from store.db.models import Attempt, Checkpoint, Epoch, File, Job, Lease, Transition, Worker
from store.jobs import QUEUE, wakeups
from tests.support.faults.scene import Scene
from tests.support.faults.trainings import FEW_EPOCHS, ON_TWO_SLOTS, SEEDS, TRAINING_SECONDS
from tests.support.mlflow_reading import history, runs
from tests.support.waiting import wait_for

#: What an epoch says of the training itself, and not of when and where it ran.
COMPARED = (
    "epoch", "step", "train_loss", "train_cost", "train_accuracy", "val_loss", "val_accuracy",
    "learning_rate", "extra", "non_finite",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Result:
    """What a job has come to; `weights`: digests of the last and of the best ones."""

    metrics: Mapping[str, Any]
    epochs: Sequence[tuple[Any, ...]]
    weights: Mapping[str, str]


#: By seed and number of devices, as an undisturbed training ends.
Reference = Mapping[tuple[int, int], Result]


def train_undisturbed(scene: Scene) -> Reference:
    """Each training that the faults interrupt, once, so long that they can."""
    scene.epochs = _measure_epochs(scene)
    scene.jobs = [scene.submit(seed=seed) for seed in range(SEEDS)]
    scene.submit(ON_TWO_SLOTS, seed=0)
    wait_for(lambda: scene.read(scene.have_ended), "the undisturbed trainings")
    with scene.sessions.begin() as session:
        jobs = [session.get_one(Job, job) for job in scene.jobs]
        for job in jobs:
            assert (job.status, job.attempt) == ("succeeded", 1), job.error
        return {(job.seed, job.devices): read_result(session, scene, job) for job in jobs}


def _measure_epochs(scene: Scene) -> int:
    job = scene.submit(seed=0)
    wait_for(lambda: scene.status(job) == "succeeded", "the first training")
    with scene.sessions.begin() as session:
        seconds = sum(row.seconds for row in _epochs(session, session.get_one(Job, job)))
    return max(FEW_EPOCHS, math.ceil(FEW_EPOCHS * TRAINING_SECONDS / seconds))


def read_result(session: Session, scene: Scene, job: Job) -> Result:
    epochs = [tuple(getattr(row, name) for name in COMPARED) for row in _epochs(session, job)]
    weights = {}
    for kind in ("last", "best"):
        newest = select(Checkpoint).where(Checkpoint.job_id == job.id, Checkpoint.kind == kind)
        row = session.scalars(newest.order_by(Checkpoint.id.desc())).first()
        assert row is not None
        content = torch.load(scene.home.storage / row.path, weights_only=True)
        tensors = content["state"]["model"] if kind == "last" else content
        parts = ((name.encode(), one.numpy().tobytes()) for name, one in sorted(tensors.items()))
        weights[kind] = digest_of_parts(part for pair in parts for part in pair)
    return Result(job.metrics, epochs, weights)


def verify(scene: Scene, reference: Reference) -> None:
    """Waits for the end of all jobs; then looks at each, in SQL and in MLflow, and at what may be left."""
    wait_for(lambda: scene.read(scene.have_ended), lambda: f"the end of {scene.read(_open_jobs)}")
    wait_for(scene.is_whole, "every process is ready")
    with scene.sessions.begin() as session:
        for job_id in scene.jobs:
            _verify_job(session, scene, session.get_one(Job, job_id), reference)
        assert session.scalar(select(func.count()).select_from(Job)) == len(scene.all_jobs)
        assert session.scalars(select(Lease.id)).all() == []
        assert session.scalars(select(Attempt.job_id).where(Attempt.ended_at.is_(None))).all() == []
    for job_id in scene.jobs:
        _verify_run(scene, job_id)
    wait_for(lambda: not scene.read(lambda session: _pending_wakeups(session, scene)), "no wake-up")
    wait_for(lambda: not _strays(scene), lambda: f"no stray process: {_strays(scene)}")


def _open_jobs(session: Session) -> Sequence[tuple[Any, ...]]:
    query = select(Job.id, Job.status, Job.attempt, Job.step).where(Job.finished_at.is_(None))
    return [tuple(row) for row in session.execute(query)]


def _verify_job(session: Session, scene: Scene, job: Job, reference: Reference) -> None:
    wanted = scene.expected.get(job.id, ("succeeded", "completed"))
    assert (job.status, job.reason) == wanted, f"job {job.id}: {job.error}"
    changes = select(Transition.to_status).where(Transition.job_id == job.id)
    ends = [status for status in session.scalars(changes) if status in FINAL_STATUSES]
    assert ends == [job.status]
    epochs = _epochs(session, job)
    assert [row.epoch for row in epochs] == list(range(1, len(epochs) + 1))
    _verify_attempts(session, job, epochs)
    for table in (Checkpoint, File):
        for row in session.scalars(select(table).where(table.job_id == job.id)):
            read_verified(scene.home.storage / row.path, row.digest)
    if job.status == "succeeded":
        assert read_result(session, scene, job) == reference[job.seed, job.devices]


def _verify_attempts(session: Session, job: Job, epochs: Sequence[Epoch]) -> None:
    query = select(Attempt).where(Attempt.job_id == job.id).order_by(Attempt.number)
    attempts = session.scalars(query).all()
    assert [one.number for one in attempts] == list(range(1, job.attempt + 1))
    for earlier, later in pairwise(attempts):
        # By then there was a checkpoint: they are written far more often.
        trained = sum(row.seconds for row in epochs if row.attempt <= earlier.number)
        if trained > 3.0 and later.first_step is not None:
            assert later.first_step > 0, f"attempt {later.number} of job {job.id}"


def _epochs(session: Session, job: Job) -> Sequence[Epoch]:
    query = select(Epoch).where(Epoch.job_id == job.id).order_by(Epoch.epoch)
    return session.scalars(query).all()


def _verify_run(scene: Scene, job_id: int) -> None:
    """MLflow has one run of the job, closed, with the epochs that SQL has."""

    def find() -> list[dict[str, Any]] | None:
        try:
            found = runs(scene.stack, f"tags.`normlab.job` = '{job_id}'")
        except httpx.TransportError:
            return None
        closed = all(run["info"]["status"] in ("FINISHED", "FAILED") for run in found)
        return found if found and closed else None

    [run] = wait_for(find, f"job {job_id} is closed in MLflow")
    with scene.sessions.begin() as session:
        epochs = _epochs(session, session.get_one(Job, job_id))
    points = [(one["step"], one["value"]) for one in history(scene.stack, run["id"], "train/loss")]
    assert points == [(row.epoch, row.train_loss) for row in epochs], f"job {job_id}"


def _pending_wakeups(session: Session, scene: Scene) -> int:
    """Sent and not taken, or due."""
    client = scene.broker()
    try:
        hosts = session.scalars(select(Worker.host)).all()
        sent = sum(int(client.llen(QUEUE.format(host=host))) for host in hosts)
    finally:
        client.close()
    return sent + sum(wakeups.due(session).values())


def _strays(scene: Scene) -> list[list[str]]:
    """Processes of the stack that its supervisor has not started, and those of jobs that have ended."""
    supervisor = scene.home.read_state()["supervisor"]["pid"]
    strays = []
    for process in scene.stack.processes():
        with suppress(psutil.NoSuchProcess):
            command = process.cmdline()
            family = {process.pid, *(one.pid for one in process.parents())}
            if supervisor not in family or "trainer.ranks" in command:
                strays.append(command)
    return strays
