"""How an acquired job ends in SQL, whatever its training does; the database is real, the training is not."""

import errno
import functools
import importlib
import os
import threading
import time
from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
import torch
from sqlalchemy import select
from sqlalchemy.exc import OperationalError
from sqlalchemy.orm import Session, sessionmaker

from runtime.files import digest_of
from runtime.storage import FolderStorage
from store.db.models import Attempt, Dataset, Job, LogLine
from store.hosts import GpuMemory, footprints, gpu_memory
from store.jobs import commands, leases
from store.jobs.acquire import Assignment
from store.results import result_rows
from studies.tuning.limits import TrialStop
from tests.support import factories
from tests.support.object_store import CREDENTIALS, object_store
from tests.support.waiting import free_port, wait_for
from trainer.data.loading import load
from trainer.errors import DataError
from trainer.events import (
    CheckpointSaved,
    EpochFinished,
    Event,
    Finished,
    Progressed,
    Started,
    Stepped,
    StopRequest,
)
from trainer.spec.dataset import DatasetInfo
from worker.execution import inputs
from worker.execution.context import Drain, ExecutionContext
from worker.execution.execute import execute
from worker.execution.heartbeat import Heartbeat, LeaseTiming
from worker.execution.space import Space

#: The room exports a function of the module's name.
module = importlib.import_module("worker.execution.execute")

Training = Generator[Event, StopRequest | None, None]
Sessions = sessionmaker[Session]

STARTED = Started(first_step=0, epoch=0, total_steps=10, parameters=5)


@pytest.fixture
def context(sessions: Sessions, tmp_path: Path) -> ExecutionContext:
    return ExecutionContext(
        sessions=sessions,
        host="alpha",
        storage=FolderStorage(tmp_path),
        space=Space((tmp_path,), 1),
        data_roots=(tmp_path / "roots",),
        parent=os.getppid(),
        load=functools.partial(load, folder=tmp_path / "datasets"),
        timing=LeaseTiming(lease=30, renewal=0.05, stall=30),
        drain=Drain(),
    )


@pytest.fixture
def train_as(monkeypatch: pytest.MonkeyPatch) -> Callable[[Callable[[], Training]], None]:
    """Replaces the training by a generator of the test's."""

    def replace(training: Callable[[], Training]) -> None:
        monkeypatch.setattr("worker.execution.training.train", lambda *_, **__: training())

    return replace


def acquire_job(sessions: Sessions, **parts: Any) -> Assignment:
    with sessions.begin() as session:
        factories.make_job(session, **parts)
        factories.make_worker(session)
    return acquire_again(sessions)


def acquire_again(sessions: Sessions) -> Assignment:
    with sessions.begin() as session:
        assignment = factories.acquire_job(session)
    assert assignment is not None
    return assignment


def run(assignment: Assignment, context: ExecutionContext) -> tuple[bool, Job, Attempt]:
    usable = execute(assignment, context, time.monotonic())
    with context.sessions.begin() as session:
        job = session.get_one(Job, assignment.job_id)
        return usable, job, session.get_one(Attempt, (assignment.job_id, assignment.attempt))


def failing(error: Exception) -> Callable[[], Training]:
    def training() -> Training:
        yield STARTED
        yield Stepped(1)
        raise error

    return training


@contextmanager
def drained_after_steps(context: ExecutionContext, job_id: int) -> Iterator[None]:
    """The worker is told to stop once the job's row says that training has gone on."""

    def has_steps() -> bool:
        with context.sessions.begin() as session:
            return session.get_one(Job, job_id).step > 0

    def begin() -> None:
        wait_for(has_steps, "a step")
        context.drain.begin()

    thread = threading.Thread(target=begin)
    thread.start()
    yield
    thread.join()


def finishing() -> Training:
    yield STARTED
    yield Finished("completed", {"test_accuracy": 0.5})


def endless() -> Training:
    yield STARTED
    step = 0
    while True:
        step += 1
        time.sleep(0.005)
        if (yield Stepped(step)) is StopRequest.SAVE_AND_STOP:
            return


def test_out_of_memory_gives_another_attempt_in_another_process(
    sessions: Sessions, context: ExecutionContext, train_as: Any
) -> None:
    train_as(failing(torch.OutOfMemoryError("CUDA out of memory")))
    assignment = acquire_job(sessions, resources={"max_attempts": 2})
    usable, job, attempt = run(assignment, context)
    assert not usable
    assert (job.status, attempt.end) == ("queued", "oom")
    _, job, attempt = run(acquire_again(sessions), context)
    assert (job.status, job.reason, attempt.end) == ("failed", "oom", "oom")
    assert "CUDA out of memory" in (job.error or "")


def test_what_a_job_took_of_its_gpu_is_what_the_next_of_its_shape_books(
    sessions: Sessions, context: ExecutionContext, train_as: Any
) -> None:
    train_as(finishing)
    with sessions.begin() as session:
        total = 10**12
        leases.register_worker(session, "alpha", 100, [("cuda", 0, "a GPU", 4)], memory={0: total})
        gpu_memory.report(session, "alpha", [GpuMemory(0, total, 0, 0)])
        for seed in (1, 2):
            factories.make_job(session, seed=seed, resources={"device": "cuda"})
    # On a GPU that there isn't a job trains on the CPU, whose memory is measured in its place.
    _, job, attempt = run(acquire_again(sessions), replace(context, are_gpus_fake=True))
    assert (job.status, attempt.slots) == ("succeeded", 4)
    assert attempt.memory_bytes is not None
    booked = acquire_again(sessions).devices[0].booked_bytes
    assert booked == footprints.with_headroom(attempt.memory_bytes)


def test_an_error_keeps_its_traceback_and_the_last_log_line(
    sessions: Sessions, context: ExecutionContext, train_as: Any
) -> None:
    train_as(failing(ValueError("no such thing")))
    assignment = acquire_job(sessions, resources={"max_attempts": 1})
    usable, job, attempt = run(assignment, context)
    assert usable
    assert (job.status, job.reason, attempt.end) == ("failed", "error", "error")
    assert "Traceback" in (job.error or "")
    assert "in training" in (job.error or "")
    with sessions.begin() as session:
        lines = session.scalars(select(LogLine.text).where(LogLine.job_id == job.id)).all()
    assert lines[-1] == "ValueError: no such thing"


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT, errno.EROFS])
@pytest.mark.parametrize("is_wrapped", [False, True], ids=["alone", "in a data error"])
def test_a_full_disk_returns_the_job_and_says_where_it_was_full(
    sessions: Sessions, context: ExecutionContext, train_as: Any, number: int, is_wrapped: bool
) -> None:
    error: Exception = OSError(number, os.strerror(number))
    if is_wrapped:
        error, error.__context__ = DataError("the set cannot be read"), error
    train_as(failing(error))
    usable, job, attempt = run(acquire_job(sessions, resources={"max_attempts": 1}), context)
    assert usable
    assert (job.status, attempt.end, attempt.counts) == ("queued", "disk", False)
    where = (attempt.error or "").splitlines()[0]
    what = f"host alpha has no room for the job: {os.strerror(number)}"
    assert where.startswith(f"{what} (afterwards {context.storage} has ")
    assert where.endswith(" MB free)")
    assert "Traceback" in (attempt.error or "")


def test_a_drain_returns_the_job_to_the_queue(
    sessions: Sessions, context: ExecutionContext, train_as: Any
) -> None:
    train_as(endless)
    assignment = acquire_job(sessions)
    with drained_after_steps(context, assignment.job_id):
        usable, job, attempt = run(assignment, context)
    assert usable
    assert (job.status, attempt.end, attempt.counts) == ("queued", "drained", False)
    assert job.step > 0


def test_a_request_to_preempt_returns_the_job_to_the_queue(
    sessions: Sessions, context: ExecutionContext, train_as: Any
) -> None:
    train_as(endless)
    assignment = acquire_job(sessions)
    with sessions.begin() as session:
        commands.request_action(session, session.get_one(Job, assignment.job_id), "preempt", "root")
    _, job, attempt = run(assignment, context)
    assert (job.status, attempt.end) == ("queued", "preempted")


def test_an_attempt_that_was_ended_by_others_is_abandoned_without_a_word(
    sessions: Sessions, context: ExecutionContext, train_as: Any
) -> None:
    opened, closed = [], []

    def watched() -> Training:
        opened.append(True)
        try:
            yield from endless()
        finally:
            closed.append(True)

    train_as(watched)
    assignment = acquire_job(sessions)
    with sessions.begin() as session:
        commands.end_attempt(session, assignment.job_id, assignment.attempt, "lost")
    second = acquire_again(sessions)
    usable, job, attempt = run(assignment, context)
    assert usable
    assert attempt.end == "lost"
    assert (job.status, job.attempt) == ("running", second.attempt)
    # The heartbeat may notice before the training has even begun.
    assert closed == opened


def test_time_of_earlier_attempts_counts_towards_the_deadline(
    sessions: Sessions, context: ExecutionContext, train_as: Any
) -> None:
    train_as(endless)
    assignment = acquire_job(sessions, resources={"timeout": 100})
    with sessions.begin() as session:
        commands.end_attempt(
            session, assignment.job_id, assignment.attempt, "drained", seconds_used=99.8
        )
    _, job, _ = run(acquire_again(sessions), context)
    assert (job.status, job.reason) == ("failed", "timeout")
    assert "100 seconds" in (job.error or "")


def test_a_result_that_is_not_finite_is_a_success(
    sessions: Sessions, context: ExecutionContext, train_as: Any
) -> None:
    def diverging() -> Training:
        yield STARTED
        yield Finished("diverged", {"best_val_loss": float("nan"), "epochs": 1})

    train_as(diverging)
    _, job, attempt = run(acquire_job(sessions), context)
    assert (job.status, job.reason, attempt.end) == ("succeeded", "diverged", "completed")
    assert job.metrics["best_val_loss"] is None
    assert job.non_finite == {"best_val_loss": "nan"}


def test_a_result_that_waits_for_the_database_is_no_standstill(
    sessions: Sessions, context: ExecutionContext, train_as: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    def finished() -> Training:
        yield STARTED
        database.back_at = time.monotonic() + 3
        yield Finished("completed", {"epochs": 1})

    stalls: list[str] = []
    monkeypatch.setattr(Heartbeat, "_end_here", lambda _, end: stalls.append(end))
    database = Outage(sessions)
    train_as(finished)
    assignment = acquire_job(sessions)
    outside = replace(
        context,
        sessions=cast(Sessions, database),
        load=cast(Any, lambda *_: None),
        timing=LeaseTiming(30, 0.05, stall=1.5),
    )
    execute(assignment, outside, time.monotonic())
    with sessions.begin() as session:
        assert session.get_one(Job, assignment.job_id).status == "succeeded"
    assert stalls == []


class Outage:
    """Sessions of a database that is away until a moment."""

    def __init__(self, sessions: Sessions) -> None:
        self.back_at = 0.0
        self._sessions = sessions

    def begin(self) -> Any:
        if time.monotonic() < self.back_at:
            raise OperationalError("SELECT 1", {}, Exception("the server is gone"))
        return self._sessions.begin()


def test_a_dataset_that_cannot_be_decoded_fails_with_the_reason(
    sessions: Sessions, context: ExecutionContext
) -> None:
    with sessions.begin() as session:
        dataset = factories.make_dataset(session, "elsewhere", ready=False)
        factories.make_worker(session)
    _, job, _ = run(acquire_again(sessions), context)
    with sessions.begin() as session:
        dataset = session.get_one(Dataset, dataset.id)
    assert (job.kind, job.status, dataset.status) == ("dataset", "failed", "failed")
    assert "/data/elsewhere" in (dataset.error or "")
    assert "Traceback" not in (dataset.error or "")


def test_the_log_of_a_registration_says_how_far_it_is_but_not_at_every_chunk(
    sessions: Sessions, context: ExecutionContext, monkeypatch: pytest.MonkeyPatch
) -> None:
    def decode(*_: Any) -> Generator[Progressed, None, DatasetInfo]:
        yield Progressed("found 3000 train images")
        for done in range(30):
            yield Progressed(f"decoded {done}00 of 3000 train images")
        return factories.make_info("cats")

    decoding = importlib.import_module("worker.execution.decoding")
    monkeypatch.setattr(decoding, "decode", decode)
    with sessions.begin() as session:
        factories.make_dataset(session, "cats", ready=False)
        factories.make_worker(session)
    monkeypatch.setattr(decoding, "PROGRESS_SECONDS", 3600.0)
    _, job, _ = run(acquire_again(sessions), context)
    with sessions.begin() as session:
        said = session.scalars(select(LogLine.text).where(LogLine.job_id == job.id)).all()
    assert job.status == "succeeded"
    assert said == ["found 3000 train images"]


@pytest.fixture
def without_store(
    context: ExecutionContext, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> ExecutionContext:
    """Nobody listens where its object store should be, and no job waits for it for long."""
    for name, value in CREDENTIALS.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(inputs, "fetch_folder", lambda *_: True)
    monkeypatch.setattr(module, "STORE_SECONDS", 0.5)
    monkeypatch.setattr(module, "STOPPED_STORE_SECONDS", 0.5)
    url = f"http://127.0.0.1:{free_port()}"
    return replace(context, storage=object_store(url, "lab", tmp_path))


def test_a_job_whose_files_never_reach_the_store_ends_with_the_reason(
    sessions: Sessions, without_store: ExecutionContext, train_as: Any, tmp_path: Path
) -> None:
    def training() -> Training:
        yield STARTED
        yield Stepped(1)
        path = tmp_path / "jobs" / "best.pt"
        path.parent.mkdir()
        path.write_bytes(b"1")
        yield CheckpointSaved("best", 1, 1, str(path), digest_of(b"1"), 1)
        # The training goes on meanwhile.
        yield Stepped(2)
        yield Finished("completed", {})

    train_as(training)
    _, job, attempt = run(acquire_job(sessions, resources={"max_attempts": 1}), without_store)
    assert (job.status, attempt.end) == ("failed", "error")
    assert "what the job has written could not be stored: " in (job.error or "")
    assert "s3://lab/lab at http://127.0.0.1:" in (job.error or "")
    with sessions.begin() as session:
        assert result_rows.checkpoints(session, job.id) == []


def test_a_job_that_is_stopped_ends_so_although_its_files_do_not_reach_the_store(
    sessions: Sessions, without_store: ExecutionContext, train_as: Any, tmp_path: Path
) -> None:
    path = tmp_path / "last.pt"
    path.write_bytes(b"1")

    def training() -> Training:
        yield STARTED
        step = 0
        while True:
            step += 1
            time.sleep(0.005)
            if (yield Stepped(step)) is StopRequest.SAVE_AND_STOP:
                yield CheckpointSaved("last", 0, step, str(path), digest_of(b"1"), 1)
                return

    train_as(training)
    assignment = acquire_job(sessions)
    with drained_after_steps(without_store, assignment.job_id):
        _, job, attempt = run(assignment, without_store)
    assert (job.status, attempt.end) == ("queued", "drained")


def test_a_trial_that_is_behind_its_arm_ends_early_and_its_training_is_closed(
    context: ExecutionContext,
    sessions: Sessions,
    train_as: Callable[[Callable[[], Training]], None],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with sessions.begin() as session:
        factories.make_study(session)
        factories.make_worker(session)
    stop = TrialStop("val_accuracy", {1: 0.1, 2: 0.9}, ())
    monkeypatch.setattr(module, "fetch_trial_stop", lambda *_: stop)
    closed: list[bool] = []

    def training() -> Training:
        yield STARTED
        try:
            for number in (1, 2, 3):
                yield Stepped(number)
                yield EpochFinished(number, number, {"val_accuracy": 0.5}, best=True, seconds=1.0)
        finally:
            closed.append(True)

    train_as(training)
    usable, job, attempt = run(acquire_again(sessions), context)
    assert usable
    assert closed == [True]
    assert (job.status, job.reason, attempt.end) == ("succeeded", "early_stopped", "completed")
    assert job.metrics == {
        "epochs": 2.0, "steps": 2.0, "stopped_period": 2.0, "best_val_accuracy": 0.5,
    }  # fmt: skip
    with sessions.begin() as session:
        assert [one.epoch for one in result_rows.epochs(session, job.id)] == [1, 2]


def test_what_ends_a_trial_is_asked_for_until_the_database_is_back(
    sessions: Sessions, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(inputs, "RETRY_SECONDS", 0.0)
    with sessions.begin() as session:
        job_id = factories.make_job(session).id
    asked: list[bool] = []

    def begin() -> Any:
        asked.append(True)
        if len(asked) < 3:
            raise OperationalError("select", {}, Exception("it is away"))
        return sessions.begin()

    away = cast(Any, SimpleNamespace(begin=begin))
    assert inputs.fetch_trial_stop(away, job_id, lambda: True) is None
    assert len(asked) == 3
    asked.clear()
    assert inputs.fetch_trial_stop(away, job_id, lambda: False) is None
    assert asked == []
