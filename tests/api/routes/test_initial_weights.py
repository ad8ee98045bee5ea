"""`init_from` over REST: whose weights, whether they are there and fit, and what a plan says of them."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient
from sqlalchemy.orm import Session, sessionmaker

from tests.support.documents import job, study
from tests.support.factories import acquire_job, finish_training
from tests.support.submissions import refuse, submit
from tests.support.trained_study import train_all

Sessions = sessionmaker[Session]
Clients = Callable[[str], TestClient]


@pytest.fixture
def trained(member: TestClient, sessions: Sessions, storage: Path) -> int:
    """A job with a best checkpoint."""
    made = submit(member, job())
    train_all(sessions, storage)
    return int(made["id"])


def digest_of(client: TestClient, number: int) -> str:
    [saved] = client.get(f"/api/v1/jobs/{number}/checkpoints").json()["items"]
    return str(saved["digest"])


def test_the_digest_is_recorded_and_the_plan_says_it(member: TestClient, trained: int) -> None:
    document = job(init_from={"job": trained})
    note = f"starts from the weights of job {trained} (best, epoch 2)"
    plan = member.post("/api/v1/plans", json=document).json()
    assert note in str(plan)
    made = submit(member, document)
    assert made["spec"]["init_from"] == {
        "job": trained, "checkpoint": "best", "reset_head": False, "digest": digest_of(member, trained),
    }  # fmt: skip
    assert note in made["warnings"]


def test_the_same_weights_are_the_same_job_and_others_are_not(
    member: TestClient, trained: int, sessions: Sessions
) -> None:
    first = submit(member, job(init_from={"job": trained}))
    with sessions.begin() as session:
        assignment = acquire_job(session)
        assert assignment is not None
        finish_training(session, assignment)
    again = submit(member, job(init_from={"job": trained}))
    assert again["reused_from"] == first["id"]
    anew = submit(member, job(init_from={"job": trained, "reset_head": True}))
    assert anew["reused_from"] is None


def test_cells_of_a_study_begin_from_it_each_with_the_digest(
    member: TestClient, trained: int
) -> None:
    variants = {"scratch": {}, "tuned": {"init_from": {"job": trained}}}
    document = study(variants=variants, baseline="scratch", base__norm=job()["norm"])
    made = submit(member, document, "studies")
    jobs = member.get(f"/api/v1/studies/{made['id']}/jobs").json()["items"]
    assert len(jobs) == 4
    for one in jobs:
        initial = one["spec"].get("init_from")
        assert (initial is not None) == (one["variant"] == "tuned")
        assert initial is None or initial["digest"] == digest_of(member, trained)
    more = member.post(f"/api/v1/studies/{made['id']}/extend", json={"seeds": 1})
    assert more.status_code == 202, more.text


def test_a_job_that_is_not_there_is_refused(member: TestClient) -> None:
    problem = refuse(member, job(init_from={"job": 4711}))
    assert problem["pointer"] == "/init_from/job"
    assert "there is no job 4711" in problem["detail"]


def test_a_job_that_has_not_succeeded_is_refused(member: TestClient) -> None:
    number = submit(member, job())["id"]
    problem = refuse(member, job(init_from={"job": number}))
    assert f"job {number} is queued" in problem["detail"]


def test_a_checkpoint_that_is_not_there_is_refused(member: TestClient, trained: int) -> None:
    problem = refuse(member, job(init_from={"job": trained, "checkpoint": "last"}))
    assert f"job {trained} has no last checkpoint" in problem["detail"]


def test_another_digest_than_that_of_the_checkpoint_is_refused(
    member: TestClient, trained: int
) -> None:
    problem = refuse(member, job(init_from={"job": trained, "digest": "0" * 32}))
    assert problem["pointer"] == "/init_from/digest"
    assert digest_of(member, trained) in problem["detail"]


def test_a_private_job_is_not_there_for_whoever_may_not_read_it(
    member: TestClient, sign_in: Clients, sessions: Sessions, storage: Path
) -> None:
    made = member.post("/api/v1/projects", json={"name": "shelf", "visibility": "private"})
    assert made.status_code == 201, made.text
    number = submit(member, job(project="shelf"))["id"]
    train_all(sessions, storage)
    stranger = sign_in("eve:member")
    problem = refuse(stranger, job(init_from={"job": number}))
    assert problem["detail"] == f"there is no job {number}"
    assert submit(member, job(init_from={"job": number}))["status"] == "queued"


@pytest.mark.parametrize(
    ("changes", "pointer", "words"),
    [
        ({"model__width": 4}, "/init_from/job", "in this model and"),
        ({"norm": {"kind": "none"}}, "/init_from/job", "missing"),
    ],
)
def test_a_model_that_does_not_fit_is_refused(
    member: TestClient, trained: int, changes: dict[str, Any], pointer: str, words: str
) -> None:
    problem = refuse(member, job(init_from={"job": trained}, **changes))
    assert problem["pointer"] == pointer
    assert words in problem["detail"]
    assert f"job {trained}" in problem["detail"]


def test_a_misfit_in_a_study_is_told_at_its_variant(member: TestClient, trained: int) -> None:
    variants = {"scratch": {}, "tuned": {"init_from": {"job": trained}, "model": {"width": 16}}}
    document = study(variants=variants, baseline="scratch", base__norm=job()["norm"])
    problem = refuse(member, document, "studies")
    assert problem["pointer"] == "/variants/tuned/init_from/job"


def test_a_study_that_tunes_cannot_begin_from_another_job(member: TestClient, trained: int) -> None:
    document = study(base__init_from={"job": trained}, base__norm=job()["norm"])
    document["variants"] = {"a": {}, "b": {"optimizer": {"momentum": 0.5}}}
    document |= {"baseline": "a", "tune": {"optimizer.lr": [0.1, 0.01], "seeds": [100]}}
    answer = member.post("/api/v1/studies", json=document)
    assert answer.status_code == 422, answer.text
    assert "/tune" in {one["pointer"] for one in answer.json()["errors"]}


def test_what_another_job_waits_for_is_not_deleted(member: TestClient, trained: int) -> None:
    waiting = submit(member, job(init_from={"job": trained}))["id"]
    answer = member.delete(f"/api/v1/jobs/{trained}")
    assert answer.status_code == 409, answer.text
    assert f"job {waiting} has not ended" in answer.text
