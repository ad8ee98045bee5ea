"""A study that was submitted over REST and trained, as a worker records it, without a worker."""

import hashlib
from pathlib import Path

from sqlalchemy import update
from sqlalchemy.orm import Session, sessionmaker

from store.catalog import datasets
from store.db.models import Attempt
from store.jobs import commands
from store.jobs.acquire import Assignment
from tests.support.factories import acquire_job, make_info, make_worker, set_job
from trainer.events import CheckpointSaved, EpochFinished, EvaluationFinished, FileWritten, Started


def train_all(sessions: sessionmaker[Session], storage: Path) -> list[int]:
    """Run every runnable job to its end; the third diverges. Returns the jobs in the order of their start."""
    done: list[int] = []
    with sessions.begin() as session:
        make_worker(session)
    while True:
        with sessions.begin() as session:
            assignment = acquire_job(session)
            if assignment is None:
                return done
            if assignment.kind == "dataset":
                _decode(session, assignment)
            else:
                _train(session, assignment, storage, diverges=len(done) == 2)
                done.append(assignment.job_id)


def train_all_with_another_numpy_for_the_last(
    sessions: sessionmaker[Session], storage: Path
) -> list[int]:
    """As `train_all`, with close results, and an environment that differs where nobody declared it."""
    jobs = train_all(sessions, storage)
    with sessions.begin() as session:
        for number, job in enumerate(jobs):
            metrics = {"test_accuracy": 0.9 + number / 1000, "best_val_accuracy": 0.9}
            set_job(session, job, reason="completed", metrics=metrics)
        for condition, version in (
            (Attempt.job_id == jobs[-1], "1"),
            (Attempt.job_id != jobs[-1], "2"),
        ):
            environment = {"device": "cpu", "numpy": version}
            session.execute(update(Attempt).where(condition).values(environment=environment))
    return jobs


def _decode(session: Session, assignment: Assignment) -> None:
    datasets.mark_ready(session, assignment.dataset_id, make_info(assignment.dataset_name))
    commands.finish(
        session,
        assignment.job_id,
        assignment.attempt,
        reason="completed",
        metrics={},
        seconds_used=1.0,
    )


def _train(session: Session, assignment: Assignment, storage: Path, *, diverges: bool) -> None:
    job, attempt = assignment.job_id, assignment.attempt
    loss = float("nan") if diverges else 0.25
    accuracy = float("nan") if diverges else 0.9 + (job * 37 % 100) / 1000
    commands.record_start(session, job, attempt, Started(0, 0, 2, 100))
    for epoch in (1, 2):
        metrics = {"train_loss": loss, "val_loss": loss, "val_accuracy": 0.5, "gap": loss}
        event = EpochFinished(epoch, epoch, metrics, best=True, seconds=0.1)
        commands.record_epoch(session, job, attempt, event)
    folder = Path("jobs") / str(job) / f"attempt-{attempt}"
    saved = CheckpointSaved("best", 2, 2, *_write(storage, folder / "best.pt", b"weights"))
    commands.record_checkpoint(session, job, attempt, saved)
    file = FileWritten("predictions.npy", *_write(storage, folder / "predictions.npy", b"numbers"))
    test = {"test_accuracy": accuracy, "test_loss": loss}
    commands.record_evaluation(session, job, attempt, EvaluationFinished("test", test, (file,)))
    commands.record_log(session, job, attempt, [("info", "epoch 1"), ("info", "epoch 2")])
    metrics = {**test, "epochs": 2.0, "best_epoch": 2.0}
    reason = "diverged" if diverges else "completed"
    commands.finish(session, job, attempt, reason=reason, metrics=metrics, seconds_used=0.2)


def _write(storage: Path, path: Path, content: bytes) -> tuple[str, str, int]:
    """The file's path in the storage, its digest and its size."""
    (storage / path).parent.mkdir(parents=True, exist_ok=True)
    (storage / path).write_bytes(content)
    return str(path), hashlib.blake2b(content, digest_size=16).hexdigest(), len(content)
