"""Limits over REST: admins set them, everybody reads them, submissions beyond them are refused with the reason."""

from fastapi.testclient import TestClient
from structlog.testing import capture_logs

from tests.support.documents import JOB, STUDY


def test_limits_are_set_and_removed_by_admins_and_read_by_all(
    admin: TestClient, member: TestClient
) -> None:
    with capture_logs() as lines:
        answer = admin.patch(
            "/api/v1/limits/roles/member", json={"running": 2, "timeout_seconds": "2h"}
        )
        admin.patch("/api/v1/limits/users/max", json={"running": 4})
    assert (answer.json()["timeout_seconds"], answer.json()["priority"]) == (7200, "high")
    assert [(line["event"], line["running"], line["by"]) for line in lines] == [
        ("the limits of a role were changed", 2, "ada"),
        ("the limits of a user were changed", 4, "ada"),
    ]
    items = member.get("/api/v1/limits").json()["items"]
    assert [(one["role"], one["user"], one["running"]) for one in items] == [
        ("admin", None, None),
        ("member", None, 2),
        ("viewer", None, None),
        (None, "max", 4),
    ]
    admin.patch("/api/v1/limits/users/max", json={"running": None})
    assert len(member.get("/api/v1/limits").json()["items"]) == 3


def test_what_is_no_limit_is_refused(admin: TestClient) -> None:
    wrong = admin.patch("/api/v1/limits/users/ada", json={"running": -1, "priority": "top"})
    assert wrong.status_code == 422
    assert [one["pointer"] for one in wrong.json()["errors"]] == ["/running", "/priority"]
    assert admin.patch("/api/v1/limits/users/nobody", json={}).status_code == 404
    assert admin.patch("/api/v1/limits/roles/king", json={}).status_code == 422


def test_a_submission_beyond_a_limit_is_a_conflict_that_says_which(
    admin: TestClient, member: TestClient
) -> None:
    admin.patch("/api/v1/limits/users/max", json={"queued": 4, "timeout_seconds": "1h"})
    assert member.post("/api/v1/studies", json=STUDY).status_code == 202

    more = member.post("/api/v1/jobs", json=JOB)
    assert more.status_code == 409
    assert (
        "limit queued: max may have 4 waiting jobs and has 4; this would add 1;"
        in more.json()["detail"]
    )
    long = member.post("/api/v1/jobs", json={**JOB, "resources": {"timeout": "3h"}})
    assert long.status_code == 409
    assert "limit timeout_seconds: jobs of max may train for 1 h 00 min" in long.json()["detail"]
    assert admin.post("/api/v1/jobs", json=JOB).status_code == 202


def test_a_study_is_resumed_beyond_the_limit_and_retried_within_it(
    admin: TestClient, member: TestClient
) -> None:
    study = member.post("/api/v1/studies", json=STUDY).json()["id"]
    path = f"/api/v1/studies/{study}"
    member.post(f"{path}/pause")
    admin.patch("/api/v1/limits/users/max", json={"queued": 3})
    assert member.post(f"{path}/resume").json()["status"] == "queued"
    member.post(f"{path}/cancel")

    refused = member.post(f"{path}/retry", params={"cancelled": True})
    assert refused.status_code == 409
    assert (
        "may have 3 waiting jobs and has 0; this would add 4; do it with fewer jobs"
        in (refused.json()["detail"])
    )
    admin.patch("/api/v1/limits/users/max", json={"queued": 4})
    assert member.post(f"{path}/retry", params={"cancelled": True}).json()["status"] == "queued"


def test_a_priority_is_a_matter_of_the_role(admin: TestClient, member: TestClient) -> None:
    urgent = {**JOB, "resources": {"priority": "urgent"}}
    refused = member.post("/api/v1/jobs", json=urgent)
    assert refused.status_code == 403
    assert "may ask for priority low, normal or high, not urgent" in refused.json()["detail"]
    assert admin.post("/api/v1/jobs", json=urgent).status_code == 202

    job = member.post("/api/v1/jobs", json=JOB).json()["id"]
    path = f"/api/v1/jobs/{job}/priority"
    assert member.post(path, json={"priority": "urgent"}).status_code == 403
    assert admin.post(path, json={"priority": "urgent"}).json()["priority"] == "urgent"
