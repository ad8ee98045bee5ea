"""Every answer says that nothing of it is guessed and nothing of it is kept."""

from pathlib import Path

import pytest
from fastapi.testclient import TestClient
from httpx import Headers
from sqlalchemy.orm import Session, sessionmaker

from api.routes import jobs as job_routes
from store.db.models import File
from tests.support.documents import JOB


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/api/v1/users/me", 200),
        ("GET", "/api/v1/jobs/9", 404),
        ("GET", "/api/v1/jobs?limit=0", 422),
        ("POST", "/api/v1/users", 403),
        ("POST", "/api/v1/jobs", 400),
        ("DELETE", "/api/v1/jobs", 405),
        ("GET", "/nothing", 404),
        ("GET", "/api/v1/results/export", 200),
        ("GET", "/healthz", 200),
        ("GET", "/readyz", 200),
        ("GET", "/openapi.json", 200),
    ],
)
def test_no_answer_is_guessed_or_kept(
    viewer: TestClient, member: TestClient, method: str, path: str, status: int
) -> None:
    answer = (viewer if status == 403 else member).request(method, path)
    assert answer.status_code == status
    ensure_safe(answer.headers)


def test_a_refused_token_and_an_internal_error_are_not_kept_either(
    member: TestClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(job_routes, "build_job_views", lambda *_: 1 / 0)
    for headers, status in (({"Authorization": "Bearer nl_x"}, 401), ({}, 500)):
        answer = member.get("/api/v1/jobs", headers=headers)
        assert answer.status_code == status
        ensure_safe(answer.headers)


def test_a_token_and_a_job_s_file_are_not_kept(
    member: TestClient, sessions: sessionmaker[Session], storage: Path
) -> None:
    ensure_safe(member.post("/api/v1/tokens", json={"name": "laptop"}).headers)
    job = member.post("/api/v1/jobs", json=JOB).json()["id"]
    (storage / "curves.png").write_bytes(b"picture")
    with sessions.begin() as session:
        session.add(File(job_id=job, name="curves.png", path="curves.png", bytes=7, digest=""))
    answer = member.get(f"/api/v1/jobs/{job}/files/curves.png")
    assert answer.content == b"picture"
    ensure_safe(answer.headers)


def ensure_safe(headers: Headers) -> None:
    assert headers["x-content-type-options"] == "nosniff"
    assert headers["cache-control"] == "no-store"
    assert headers["content-security-policy"] == "default-src 'none'; frame-ancestors 'none'"
    assert headers["referrer-policy"] == "same-origin"
