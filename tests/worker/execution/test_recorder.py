"""What an attempt records reaches SQL in order and once, whatever happens around it."""

import threading
import time
from pathlib import Path
from typing import Any, cast

import pytest
from sqlalchemy.exc import OperationalError
from sqlalchemy.orm import Session, sessionmaker

from store.db.models import Job
from store.jobs import commands
from store.jobs.claim import Claim
from store.results import result_rows
from tests.support import factories
from trainer.events import CheckpointSaved
from worker.execution.recorder import Recorder

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
def claim(sessions: Sessions) -> Claim:
    with sessions.begin() as session:
        factories.make_job(session)
        factories.make_worker(session)
        claim = factories.claim_job(session)
    assert claim is not None
    return claim


def close_as_completed(recorder: Recorder, claim: Claim) -> bool:
    def finish(session: Session) -> None:
        commands.finish(session, claim.job_id, claim.attempt, reason="completed")

    return recorder.close(finish, give_up=lambda: False)


def status(sessions: Sessions, claim: Claim) -> str:
    with sessions.begin() as session:
        return session.get_one(Job, claim.job_id).status


def test_a_line_said_while_the_end_waits_for_the_database_does_not_undo_the_end(
    sessions: Sessions, claim: Claim, tmp_path: Path
) -> None:
    database = Away(sessions)
    recorder = Recorder(cast(Sessions, database), tmp_path, claim.job_id, claim.attempt)

    def come_back() -> None:
        # As the recorder's own warning of the absence does: it is forwarded to the job's log.
        database.asked.wait(120)
        recorder.say("warning", "the database is away")
        database.is_away = False

    threading.Thread(target=come_back).start()
    assert close_as_completed(recorder, claim)
    assert status(sessions, claim) == "succeeded"


def test_a_file_that_cannot_be_deleted_does_not_keep_the_rest_from_being_recorded(
    sessions: Sessions, claim: Claim, tmp_path: Path
) -> None:
    (tmp_path / "step-1").mkdir()
    recorder = Recorder(sessions, tmp_path, claim.job_id, claim.attempt)
    for step in (1, 2, 3):
        path = str(tmp_path / f"step-{step}")
        recorder.record(CheckpointSaved("last", 0, step, path, "d" * 32, 1))
    deadline = time.monotonic() + 120
    while len(recorded(sessions, claim)) < 2 and time.monotonic() < deadline:
        time.sleep(0.01)
    time.sleep(0.2)
    assert close_as_completed(recorder, claim)
    assert recorded(sessions, claim) == ["step-3", "step-2"]
    assert status(sessions, claim) == "succeeded"


def recorded(sessions: Sessions, claim: Claim) -> list[str]:
    with sessions.begin() as session:
        return [row.path for row in result_rows.checkpoints(session, claim.job_id)]
