"""What the API's log keeps of users and tokens: who changed what of whom, and no secret."""

from typing import Any

from fastapi.testclient import TestClient
from structlog.testing import capture_logs


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
