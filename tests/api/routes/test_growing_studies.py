"""Studies that grow by themselves, steered while they do."""

import random
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime

import pytest
from fastapi.testclient import TestClient
from sqlalchemy.orm import Session, sessionmaker

from store.studies import studies
from studies.growth import grow
from tests.support.documents import study
from tests.support.factories import set_job
from tests.support.locks import waits_for_a_lock
from tests.support.waiting import wait_for

Sessions = sessionmaker[Session]


@pytest.mark.parametrize(("verb", "status"), [("cancel", "cancelled"), ("pause", "paused")])
def test_what_is_asked_while_a_look_ends_is_asked_of_the_next_one(
    member: TestClient, sessions: Sessions, verb: str, status: str
) -> None:
    document = study(seeds="until decided, at most 24")
    study_id = member.post("/api/v1/studies", json=document).json()["id"]
    draw = random.Random(0)

    def succeed(session: Session, job_id: int) -> None:
        metrics = {"test_accuracy": draw.random()}
        ended = {"status": "succeeded", "reason": "completed", "finished_at": datetime.now(UTC)}
        set_job(session, job_id, metrics=metrics, **ended)

    with sessions.begin() as session:
        *others, last = [job.id for job in studies.jobs_of(session, study_id)]
        for job_id in others:
            succeed(session, job_id)
        set_job(session, last, status="running")
    with ThreadPoolExecutor(1) as pool:
        with sessions.begin() as session:
            succeed(session, last)
            # As the worker does, in the transaction that closes the last job.
            grow(session, study_id)
            answer = pool.submit(member.post, f"/api/v1/studies/{study_id}/{verb}")
            wait_for(lambda: waits_for_a_lock(sessions), "the request waits for the last job")
        assert answer.result().status_code == 200, answer.result().text
    counts = answer.result().json()["counts"]
    assert (counts["succeeded"], counts[status]) == (16, 16)
