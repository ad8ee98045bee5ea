"""A person's account, and what admins see of the service; what people write there is text."""

import re
from datetime import timedelta
from pathlib import Path

from fastapi.testclient import TestClient
from sqlalchemy.orm import Session, sessionmaker

from store.accounts import users
from store.db import database_now
from store.mlflow import mirror_problems
from store.mlflow.mirror_problems import Subject
from tests.support.documents import JOB, study
from tests.support.factories import make_worker
from tests.support.trained_study import train_all

Sessions = sessionmaker[Session]


def read(client: TestClient) -> str:
    answer = client.get("/admin")
    assert answer.status_code == 200, answer.text
    return answer.text


def test_everybody_sees_their_own_tokens_and_only_admins_the_service(
    admin: TestClient, member: TestClient, viewer: TestClient
) -> None:
    mine = member.post("/api/v1/tokens", json={"name": "laptop"}).json()["id"]
    theirs = viewer.post("/api/v1/tokens", json={"name": "phone"}).json()["id"]
    page = read(member)
    assert f"DELETE /api/v1/tokens/{mine}" in page
    assert f"/api/v1/tokens/{theirs}" not in page
    assert "/api/v1/users" not in page
    assert "<h1>Account</h1>" in page
    assert f"DELETE /api/v1/tokens/{theirs}" in read(viewer)
    assert 'id="audit"' not in page
    page = read(admin)
    assert "<h1>Admin</h1>" in page
    assert 'id="audit"' in page
    for token in (mine, theirs):
        assert f"DELETE /api/v1/tokens/{token}" in page


def test_the_navigation_says_admin_to_admins_and_account_to_others(
    admin: TestClient, viewer: TestClient
) -> None:
    for client, name in ((admin, "Admin"), (viewer, "Account")):
        assert re.search(f'href="/admin" aria-current="page">{name}</a>', read(client))


def test_an_admin_changes_everybody_but_themselves(admin: TestClient, member: TestClient) -> None:
    page = read(admin)
    assert "PATCH /api/v1/users/max" in page
    assert "PATCH /api/v1/users/ada" not in page
    assert "only another admin can change you" in page
    admin.patch("/api/v1/users/max", json={"disabled": True})
    page = read(admin)
    assert 'aria-label="Enable max"' in page
    assert 'aria-label="Disable max"' not in page
    # What can be undone isn't asked for twice.
    buttons = re.findall(r"<button [^>]*PATCH /api/v1/users/[^>]*>", page)
    assert len(buttons) == 3
    assert all("data-undo" in one and "data-confirm" not in one for one in buttons)


def test_what_names_a_token_is_text(member: TestClient) -> None:
    member.post("/api/v1/tokens", json={"name": '"><script>alert(1)</script>'})
    page = read(member)
    assert "<script>alert" not in page
    assert "&lt;script&gt;alert(1)" in page


def test_a_token_that_has_expired_is_said_to_have(member: TestClient, sessions: Sessions) -> None:
    with sessions.begin() as session:
        user = users.find(session, "max")
        assert user is not None
        past = database_now(session) - timedelta(days=1)
        users.create_token(session, user, "old", past)
    assert "expired <time" in read(member)


def test_an_admin_sees_workers_storage_and_what_mlflow_lacks(
    admin: TestClient, member: TestClient, sessions: Sessions, storage: Path
) -> None:
    empty = read(admin)
    assert "No worker has ever run" in empty
    assert "MLflow has everything" in empty
    made = member.post("/api/v1/studies", json=study()).json()["id"]
    [job, *_] = train_all(sessions, storage)
    with sessions.begin() as session:
        make_worker(session, "alpha", cpu=2, cuda=1)
        mirror_problems.note(session, Subject("run", job_id=job), "<b>no</b> experiment")
    page = read(admin)
    assert re.search(r"alpha</th>\s*<td>takes jobs</td>\s*<td class=\"number\">0 of 3</td>", page)
    assert "cuda:0" in page
    assert f'<a href="/jobs/{job}">' in page
    assert "&lt;b&gt;no&lt;/b&gt; experiment" in page
    jobs = member.get(f"/api/v1/studies/{made}/jobs").json()["items"]
    page = admin.get("/admin/storage").text
    # A checkpoint and a file of each (`trained_study`).
    for what, size in (("Checkpoints of jobs", 7), ("Files of jobs", 7)):
        row = rf'{what}</th><td class="number">{len(jobs)}</td><td class="number">{size * len(jobs)} B'
        assert re.search(row, page)
    assert "free on its file system" in page
    assert member.get("/admin/storage").status_code == 403


def test_an_admin_sees_everybody_s_limits_and_chooses_whose_to_change(
    admin: TestClient, member: TestClient
) -> None:
    admin.patch("/api/v1/limits/roles/member", json={"device_seconds_per_day": "8h"})
    admin.patch("/api/v1/limits/users/max", json={"running": 2, "disk_bytes": "20GB"})
    page = read(admin)
    assert list_limits(page)["every member"] == ["–", "–", "8 h 00 min", "–", "–", "high"]
    assert list_limits(page)["max"] == ["2", "–", "–", "–", "20.0 GB", "–"]
    assert "PATCH /api/v1/limits" not in page
    page = admin.get("/admin", params={"limits": "users/max"}).text
    assert 'data-api="PATCH /api/v1/limits/users/max"' in page
    typed = dict(re.findall(r'<input name="(\w+)" data-type="limit" value="([^"]*)"', page))
    assert (typed["running"], typed["queued"], typed["disk_bytes"]) == ("2", "", "20GB")
    role = admin.get("/admin", params={"limits": "roles/member"}).text
    assert re.search(r'name="device_seconds_per_day" data-type="limit" value="8h"', role)
    assert "<option selected>high</option>" in role
    # Whoever has none of their own yet, and nobody.
    assert 'data-api="PATCH /api/v1/limits/users/ada"' in admin.get("/admin?limits=users/ada").text
    assert "PATCH /api/v1/limits" not in admin.get("/admin?limits=users/nobody").text
    assert "limits-of" not in member.get("/admin?limits=users/max").text


def list_limits(page: str) -> dict[str, list[str]]:
    rows = re.findall(r'aria-label="Change the limits of ([^"]+)">.*?</tr>', page)
    cells = re.findall(r"aria-label=\"Change the limits of [^\"]+\">(.*?)</tr>", page)
    return {
        name: re.findall(r"<td[^>]*>([^<]*)</td>", row)
        for name, row in zip(rows, cells, strict=True)
    }


def test_an_admin_sees_whose_the_files_are(
    admin: TestClient, member: TestClient, sessions: Sessions, storage: Path
) -> None:
    assert "Use per person" not in admin.get("/admin/disk").text
    member.post("/api/v1/jobs", json=JOB)
    train_all(sessions, storage)
    page = admin.get("/admin/disk").text
    assert re.search(r'max</th><td class="number">7 B</td><td class="number">7 B</td>', page)
    assert member.get("/admin/disk").status_code == 403


def test_a_browser_knows_the_token_it_has_logged_in_with(
    member: TestClient, sessions: Sessions
) -> None:
    with sessions.begin() as session:
        user = users.find(session, "max")
        assert user is not None
        token, secret = users.create_token(session, user, "laptop")
    browser = TestClient(member.app, follow_redirects=False)
    browser.post("/login", data={"token": secret})
    row = re.search(rf'<tr id="own-{token.id}">.*?</tr>', read(browser), re.DOTALL)
    assert row
    assert "this browser" in row[0]
    assert 'data-then="/login"' in row[0]
    assert read(browser).count("this browser</span>") == 1


def test_strangers_are_led_to_the_login(member: TestClient) -> None:
    answer = TestClient(member.app, follow_redirects=False).get("/admin")
    assert (answer.status_code, answer.headers["location"]) == (303, "/login?next=%2Fadmin")
    assert member.post("/api/v1/jobs", json=JOB).status_code == 202
