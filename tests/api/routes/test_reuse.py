"""Work once, over REST: equal jobs and cells are answered, unless they are asked for afresh."""

from typing import Any

import pytest
from fastapi.testclient import TestClient
from sqlalchemy.orm import Session, sessionmaker

from store.jobs import commands
from tests.support.documents import JOB, STUDY, study
from tests.support.factories import acquire_job, finish_training, make_worker

Sessions = sessionmaker[Session]


def train_all(sessions: Sessions) -> int:
    """Every runnable job to its end; how many they were."""
    count = 0
    while True:
        with sessions.begin() as session:
            if (job := acquire_job(session)) is None:
                return count
            finish_training(session, job)
            count += 1


@pytest.fixture
def trained(member: TestClient, sessions: Sessions) -> dict[str, Any]:
    """A study whose four jobs have been trained."""
    with sessions.begin() as session:
        make_worker(session)
    answer = member.post("/api/v1/studies", json=STUDY)
    assert answer.status_code == 202, answer.text
    assert train_all(sessions) == 4
    found: dict[str, Any] = answer.json()
    return found


def test_a_study_of_trained_cells_has_succeeded_when_it_is_accepted(
    member: TestClient, trained: dict[str, Any]
) -> None:
    again = member.post("/api/v1/studies", json=STUDY).json()

    assert (again["status"], again["reused"]) == ("succeeded", 4)
    jobs = member.get(f"/api/v1/studies/{again['id']}/jobs").json()["items"]
    assert sorted(job["reused_from"] for job in jobs) == [
        job["id"]
        for job in member.get(f"/api/v1/studies/{trained['id']}/jobs").json()["items"][::-1]
    ]
    curves = member.get(f"/api/v1/jobs/{jobs[0]['id']}/epochs").json()["items"]
    assert [epoch["epoch"] for epoch in curves] == [1, 2]


def test_reused_cells_count_once_for_each_seed(
    member: TestClient, sessions: Sessions, trained: dict[str, Any]
) -> None:
    again = member.post("/api/v1/studies", json=study(seeds=3)).json()
    assert again["reused"] == 4
    assert train_all(sessions) == 2

    comparison = member.get(f"/api/v1/studies/{again['id']}/comparison").json()

    assert [(one["variant"], one["n"]) for one in comparison["variants"]] == [
        ("none", 3), ("group", 3),
    ]  # fmt: skip


@pytest.mark.parametrize("fresh", [True, False])
def test_a_fresh_study_is_trained_again(
    member: TestClient, sessions: Sessions, trained: dict[str, Any], fresh: bool
) -> None:
    again = member.post("/api/v1/studies", json=STUDY, params={"fresh": fresh}).json()

    assert again["reused"] == (0 if fresh else 4)
    assert train_all(sessions) == (4 if fresh else 0)


def test_an_extension_trains_the_missing_cells_alone(
    member: TestClient, sessions: Sessions, trained: dict[str, Any]
) -> None:
    path = f"/api/v1/studies/{trained['id']}"
    extended = member.post(f"{path}/extend", json={"seeds": 1}).json()
    assert extended["counts"]["queued"] == 2
    assert train_all(sessions) == 2

    narrow = member.post("/api/v1/studies", json=study(seeds=1)).json()
    wide = member.post(f"/api/v1/studies/{narrow['id']}/extend", json={"seeds": 2}).json()

    assert (wide["status"], wide["reused"]) == ("succeeded", 6)
    fresh = member.post(f"{path}/extend", json={"seeds": 1}, params={"fresh": True}).json()
    assert fresh["counts"]["queued"] == 2


def test_a_retry_trains_the_failed_cells_alone(
    member: TestClient, sessions: Sessions, trained: dict[str, Any]
) -> None:
    again = member.post("/api/v1/studies", json=STUDY, params={"fresh": True}).json()
    with sessions.begin() as session:
        job = acquire_job(session)
        assert job is not None
        commands.fail(session, job.job_id, job.attempt, "error", "no")
    assert train_all(sessions) == 3

    retried = member.post(f"/api/v1/studies/{again['id']}/retry").json()

    assert (retried["counts"]["queued"], retried["counts"]["succeeded"]) == (1, 3)
    assert train_all(sessions) == 1


def test_one_key_with_and_without_fresh_is_two_requests(
    member: TestClient, trained: dict[str, Any]
) -> None:
    headers = {"Idempotency-Key": "k"}
    assert member.post("/api/v1/jobs", json=JOB, headers=headers).status_code == 202
    other = member.post("/api/v1/jobs", json=JOB, headers=headers, params={"fresh": True})
    assert other.status_code == 422


def test_a_bill_says_what_is_reused_and_what_the_rest_takes(
    member: TestClient, trained: dict[str, Any]
) -> None:
    bill = member.post("/api/v1/plans", json=study(seeds=3)).json()["bill"]

    assert (bill["jobs"], bill["reused"], bill["unknown"]) == (6, 4, 0)
    # Each of the trained jobs took 5 seconds.
    assert (bill["device_seconds"], bill["basis"]) == (pytest.approx(10.0), "same")
    assert bill["wall_seconds"] == pytest.approx(10.0)
    fresh = member.post("/api/v1/plans", json=study(seeds=3), params={"fresh": True}).json()["bill"]
    assert (fresh["reused"], fresh["device_seconds"]) == (0, pytest.approx(30.0))


def test_a_bill_of_another_length_rests_on_the_shape(
    member: TestClient, trained: dict[str, Any]
) -> None:
    longer = study(base__training__epochs=4, base__optimizer__lr=0.1, seeds=1)

    bill = member.post("/api/v1/plans", json=longer).json()["bill"]

    assert bill["basis"] == "shape"
    assert 10.0 < bill["device_seconds"] < 20.0


def test_without_anything_like_it_the_bill_is_unknown(member: TestClient) -> None:
    bill = member.post("/api/v1/plans", json=STUDY).json()["bill"]
    assert (bill["device_seconds"], bill["unknown"], bill["usual_error"]) == (None, 4, None)


def test_a_trained_study_says_how_wrong_its_bill_was(
    member: TestClient, sessions: Sessions, trained: dict[str, Any]
) -> None:
    assert member.get(f"/api/v1/studies/{trained['id']}").json()["bill"] is None
    again = member.post("/api/v1/studies", json=STUDY, params={"fresh": True}).json()
    train_all(sessions)

    bill = member.get(f"/api/v1/studies/{again['id']}").json()["bill"]

    assert bill == {"jobs": 4, "expected_seconds": 20.0, "seconds": 20.0, "error": 0.0}
    assert member.post("/api/v1/plans", json=STUDY).json()["bill"]["usual_error"] == 0.0
