"""Datasets over REST: registered for a worker to decode, listed, named once."""

from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient
from sqlalchemy.orm import Session, sessionmaker

from tests.api.specs import job
from tests.api.trained import train_all


@pytest.fixture
def flowers(data_root: Path) -> dict[str, Any]:
    return {
        "name": "flowers",
        "source": {"kind": "image_folder", "path": str(data_root / "flowers")},
    }


def test_what_is_built_in_is_there(viewer: TestClient) -> None:
    [digits] = viewer.get("/api/v1/datasets").json()["items"]
    assert digits == viewer.get("/api/v1/datasets/digits").json()
    assert (digits["status"], digits["info"]["shape"], digits["job_id"]) == (
        "ready",
        [1, 8, 8],
        None,
    )


def test_a_registered_dataset_is_decoded_by_a_job_and_then_usable(
    member: TestClient, sessions: sessionmaker[Session], storage: Path, flowers: dict[str, Any]
) -> None:
    answer = member.post("/api/v1/datasets", json=flowers)
    assert answer.status_code == 202
    made = answer.json()
    assert (made["status"], made["owner"], made["info"]) == ("registering", "max", None)
    decoding = member.get(f"/api/v1/jobs/{made['job_id']}").json()
    assert (decoding["kind"], decoding["status"]) == ("dataset", "queued")
    assert member.get("/api/v1/jobs").json()["items"] == []

    train_all(sessions, storage)

    assert member.get("/api/v1/datasets/flowers").json()["status"] == "ready"
    small = job(dataset__name="flowers", training__batch_size=16)
    assert member.post("/api/v1/jobs", json=small).status_code == 202


def test_a_name_is_given_once_but_the_same_request_may_be_repeated(
    member: TestClient, admin: TestClient, flowers: dict[str, Any]
) -> None:
    headers = {"Idempotency-Key": "k"}
    first = member.post("/api/v1/datasets", json=flowers, headers=headers)
    assert member.post("/api/v1/datasets", json=flowers, headers=headers).json() == first.json()
    taken = admin.post("/api/v1/datasets", json=flowers)
    assert taken.status_code == 409
    assert taken.json()["errors"][0]["pointer"] == "/name"


def test_a_dataset_that_could_not_be_decoded_says_why(
    member: TestClient, flowers: dict[str, Any]
) -> None:
    made = member.post("/api/v1/datasets", json=flowers).json()
    member.post(f"/api/v1/jobs/{made['job_id']}/cancel")
    found = member.get("/api/v1/datasets/flowers").json()
    assert (found["status"], found["error"]) == ("failed", "its registration was cancelled")
    answer = member.post("/api/v1/jobs", json=job(dataset__name="flowers"))
    assert answer.status_code == 422
    assert answer.json()["errors"][0]["pointer"] == "/dataset/name"
    assert member.post("/api/v1/datasets", json=flowers).status_code == 202


def test_an_unknown_dataset_is_404(viewer: TestClient) -> None:
    assert viewer.get("/api/v1/datasets/mnist").status_code == 404
