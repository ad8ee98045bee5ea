"""What log and audit trail keep of users and tokens, who changed what of whom, and no secret; tokens that only read."""

from typing import Any

from fastapi.testclient import TestClient
from structlog.testing import capture_logs

from tests.support.documents import JOB


def test_changes_of_users_and_tokens_are_logged_without_secrets(admin: TestClient) -> None:
    with capture_logs() as lines:
        admin.post("/api/v1/users", json={"name": "noa", "role": "member"})
        admin.patch("/api/v1/users/noa", json={"disabled": True, "role": "viewer"})
        admin.patch("/api/v1/users/noa", json={"disabled": False})
        made = admin.post("/api/v1/tokens", json={"name": "laptop", "user": "noa"}).json()
        admin.delete(f"/api/v1/tokens/{made['id']}")
    assert [say(line) for line in lines] == [
        ("a user was created", {"user": "noa", "role": "member", "by": "ada"}),
        ("a user was changed", {"user": "noa", "role": "viewer", "disabled": True, "by": "ada"}),
        ("a user was changed", {"user": "noa", "disabled": False, "by": "ada"}),
        (
            "a token was created",
            {"token": made["id"], "name": "laptop", "user": "noa", "by": "ada"},
        ),
        (
            "a token was revoked",
            {
                "token": made["id"],
                "name": "laptop",
                "user": "noa",
                "children": "own",
                "by": "ada",
            },
        ),
    ]
    assert made["secret"] not in str(lines)


def test_what_was_refused_is_not_logged_as_done(admin: TestClient, member: TestClient) -> None:
    with capture_logs() as lines:
        assert admin.patch("/api/v1/users/ada", json={"disabled": True}).status_code == 409
        assert admin.patch("/api/v1/users/nobody", json={"disabled": True}).status_code == 404
        assert member.post("/api/v1/users", json={"name": "x"}).status_code == 403
    assert lines == []


def say(line: Any) -> tuple[str, dict[str, Any]]:
    fields = {name: value for name, value in line.items() if name not in ("event", "log_level")}
    return line["event"], fields


def test_what_was_changed_is_in_the_audit_trail_with_whom_and_the_token(
    admin: TestClient, member: TestClient
) -> None:
    admin.post("/api/v1/users", json={"name": "noa"})
    admin.patch("/api/v1/users/noa", json={"weight": 2})
    admin.patch("/api/v1/limits/users/noa", json={"running": 2, "queued": None})
    made = member.post("/api/v1/tokens", json={"name": "laptop"}).json()
    member.delete(f"/api/v1/tokens/{made['id']}")
    # What is refused changes nothing.
    assert admin.patch("/api/v1/users/nobody", json={"weight": 2}).status_code == 404

    answer = admin.get("/api/v1/audit")

    assert made["secret"] not in answer.text
    rows = answer.json()["items"]
    assert [(one["user"], one["action"], one["subject"]) for one in rows] == [
        ("max", "token.revoked", f"token {made['id']}"),
        ("max", "token.created", f"token {made['id']}"),
        ("ada", "limits.changed", "noa"),
        ("ada", "user.changed", "noa"),
        ("ada", "user.created", "noa"),
    ]
    assert [one["token"] for one in rows] == ["test"] * 5
    created = {"name": "laptop", "user": "max", "scope": "all", "expires_at": None}
    assert rows[1]["detail"] == created
    assert rows[2]["detail"] == {"running": 2, "queued": None}
    chosen = {"user": "ada", "action": "user.created"}
    assert admin.get("/api/v1/audit", params=chosen).json()["items"] == rows[-1:]
    pages = admin.get("/api/v1/audit", params={"limit": 4}).json()
    rest = admin.get("/api/v1/audit", params={"cursor": pages["next_cursor"]}).json()
    assert pages["items"] + rest["items"] == rows


def test_the_audit_trail_is_for_admins(member: TestClient) -> None:
    assert member.get("/api/v1/audit").status_code == 403
    assert member.get("/api/v1/audit", params={"action": "user.eaten"}).status_code in (403, 422)


def test_a_token_that_only_reads_changes_nothing(admin: TestClient) -> None:
    made = admin.post("/api/v1/tokens", json={"name": "a dashboard", "scope": "read"}).json()
    assert made["scope"] == "read"
    reader = TestClient(
        admin.app,
        headers={"Authorization": f"Bearer {made['secret']}"},
        raise_server_exceptions=False,
    )
    assert reader.get("/api/v1/users/me").json()["role"] == "viewer"
    assert reader.get("/api/v1/jobs").status_code == 200
    for method, path, body in [
        ("POST", "/api/v1/jobs", JOB),
        ("POST", "/api/v1/users", {"name": "noa"}),
        ("POST", "/api/v1/tokens", {"name": "another"}),
        ("DELETE", f"/api/v1/tokens/{made['id']}", None),
        ("GET", "/api/v1/audit", None),
    ]:
        answer = reader.request(method, path, json=body)
        assert answer.status_code == 403, path
        assert "is read-only" in answer.json()["detail"]
    assert [one["name"] for one in reader.get("/api/v1/tokens").json()["items"]] == [
        "a dashboard",
        "test",
    ]
