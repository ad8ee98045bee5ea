"""What an attempt records reaches SQL in order and once, whatever happens around it."""

import threading
import time
from pathlib import Path
from typing import Any, cast

import pytest
from sqlalchemy import Engine, select
from sqlalchemy.event import listen, remove
from sqlalchemy.exc import OperationalError
from sqlalchemy.orm import Session, sessionmaker

from runtime.storage import FolderStorage
from store.db.models import Epoch, Job
from store.jobs import commands
from store.jobs.acquire import Assignment
from store.results import result_rows
from tests.support import factories
from tests.support.statements import counting_statements
from tests.support.waiting import wait_for
from trainer.events import CheckpointSaved, EpochFinished
from worker.execution.recorder import NotPrepared, Recorder

Sessions = sessionmaker[Session]


class Away:
    """Sessions of a database that is away for a while."""

    def __init__(self, sessions: Sessions) -> None:
        self.asked = threading.Event()
        self.is_away = True
        self._sessions = sessions

    def begin(self) -> Any:
        self.asked.set()
        if self.is_away:
            raise OperationalError("SELECT 1", {}, Exception("the server is gone"))
        return self._sessions.begin()


@pytest.fixture
def assignment(sessions: Sessions) -> Assignment:
    with sessions.begin() as session:
        factories.make_job(session)
        factories.make_worker(session)
        assignment = factories.acquire_job(session)
    assert assignment is not None
    return assignment


def close_as_completed(recorder: Recorder, assignment: Assignment) -> bool:
    def finish(session: Session) -> None:
        commands.finish(session, assignment.job_id, assignment.attempt, reason="completed")

    return recorder.close(finish, give_up=lambda: False)


def status(sessions: Sessions, assignment: Assignment) -> str:
    with sessions.begin() as session:
        return session.get_one(Job, assignment.job_id).status


def test_a_line_said_while_the_end_waits_for_the_database_does_not_undo_the_end(
    sessions: Sessions, assignment: Assignment, tmp_path: Path
) -> None:
    database = Away(sessions)
    recorder = Recorder(
        cast(Sessions, database), FolderStorage(tmp_path), assignment.job_id, assignment.attempt
    )

    def come_back() -> None:
        # As the recorder's own warning of the absence does: it is forwarded to the job's log.
        database.asked.wait(120)
        recorder.say("warning", "the database is away")
        database.is_away = False

    threading.Thread(target=come_back).start()
    assert close_as_completed(recorder, assignment)
    assert status(sessions, assignment) == "succeeded"


def test_a_file_that_cannot_be_deleted_does_not_keep_the_rest_from_being_recorded(
    sessions: Sessions, assignment: Assignment, tmp_path: Path
) -> None:
    (tmp_path / "step-1").mkdir()
    recorder = Recorder(sessions, FolderStorage(tmp_path), assignment.job_id, assignment.attempt)
    for step in (1, 2, 3):
        path = str(tmp_path / f"step-{step}")
        recorder.record(CheckpointSaved("last", 0, step, path, "d" * 32, 1))
    deadline = time.monotonic() + 120
    while len(recorded(sessions, assignment)) < 2 and time.monotonic() < deadline:
        time.sleep(0.01)
    time.sleep(0.2)
    assert close_as_completed(recorder, assignment)
    assert recorded(sessions, assignment) == ["step-3", "step-2"]
    assert status(sessions, assignment) == "succeeded"


def recorded(sessions: Sessions, assignment: Assignment) -> list[str]:
    with sessions.begin() as session:
        return [row.path for row in result_rows.checkpoints(session, assignment.job_id)]


def test_what_an_epoch_says_is_one_transaction_of_few_statements(
    sessions: Sessions,
    assignment: Assignment,
    engine: Engine,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    # The close ends it: a busy machine may need long for what an epoch says.
    monkeypatch.setattr("worker.execution.recorder.GATHERING_SECONDS", 600.0)
    commits: list[object] = []
    note = commits.append
    recorder = Recorder(sessions, FolderStorage(tmp_path), assignment.job_id, assignment.attempt)
    recorder.say("info", "training from the start")
    wait_for(lambda: not recorder._waiting, "the first write")
    listen(engine, "commit", note)
    try:
        with counting_statements(engine) as statements:
            recorder.record(EpochFinished(1, 10, {"train_loss": 1.0}, True, 0.1))
            recorder.say("info", "epoch 1/2")
            recorder.record(CheckpointSaved("best", 1, 10, str(tmp_path / "best"), "d" * 32, 1))
            recorder.record(CheckpointSaved("last", 1, 10, str(tmp_path / "last"), "d" * 32, 1))
            recorder.close(give_up=lambda: False)
    finally:
        remove(engine, "commit", note)
    assert len(commits) == 1
    # The lock once; a line, an epoch, two checkpoints, and after each of them the announcement.
    assert len(statements) <= 18, statements
    with sessions.begin() as session:
        job = session.get_one(Job, assignment.job_id)
        assert (job.step, len(result_rows.checkpoints(session, job.id))) == (10, 2)


def test_epochs_that_come_together_take_as_many_statements_as_one(
    sessions: Sessions,
    assignment: Assignment,
    engine: Engine,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("worker.execution.recorder.GATHERING_SECONDS", 600.0)
    recorder = Recorder(sessions, FolderStorage(tmp_path), assignment.job_id, assignment.attempt)
    recorder.say("info", "training from the start")
    wait_for(lambda: not recorder._waiting, "the first write")
    with counting_statements(engine) as statements:
        for epoch in (1, 2, 3):
            recorder.say("info", f"epoch {epoch}/3")
            recorder.record(EpochFinished(epoch, 10 * epoch, {"val_loss": 1 / epoch}, True, 0.1))
        recorder.close(give_up=lambda: False)
    # The lock; the lines and their announcement; the epochs, and the job with its own.
    assert len(statements) == 6, statements
    with sessions.begin() as session:
        assert session.get_one(Job, assignment.job_id).step == 30
        rows = session.scalars(select(Epoch).order_by(Epoch.epoch)).all()
        assert [(row.epoch, row.val_loss) for row in rows] == [(1, 1.0), (2, 0.5), (3, 1 / 3)]


def test_a_write_that_is_not_prepared_is_written_again_after_its_transaction(
    sessions: Sessions, assignment: Assignment, tmp_path: Path
) -> None:
    recorder = Recorder(sessions, FolderStorage(tmp_path), assignment.job_id, assignment.attempt)
    transactions: list[Session] = []
    prepared: list[str] = []

    def prepare() -> None:
        prepared.append(status(sessions, assignment))

    def finish(session: Session) -> None:
        transactions.append(session)
        commands.finish(session, assignment.job_id, assignment.attempt, reason="completed")
        if not prepared:
            raise NotPrepared(prepare)

    assert recorder.close(finish, give_up=lambda: False)
    # What the first one had done was undone by then.
    assert prepared == ["running"]
    assert len(transactions) == 2
    assert status(sessions, assignment) == "succeeded"


def test_what_keeps_a_write_from_being_prepared_is_told(
    sessions: Sessions, assignment: Assignment, tmp_path: Path
) -> None:
    recorder = Recorder(sessions, FolderStorage(tmp_path), assignment.job_id, assignment.attempt)

    def prepare() -> None:
        raise ValueError("it can't be had")

    def finish(session: Session) -> None:
        raise NotPrepared(prepare)

    with pytest.raises(ValueError, match="it can't be had"):
        recorder.close(finish, give_up=lambda: False)
