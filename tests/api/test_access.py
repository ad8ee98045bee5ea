"""Who may do what: nobody without a token, viewers read, members change what is theirs, admins all."""

import re
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta

import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient
from sqlalchemy.orm import Session, sessionmaker

from api.http.dependencies import get_current_user, require_writer
from api.routes import jobs as job_routes
from api.routes import studies as study_routes
from api.settings import Settings
from store.accounts import users
from tests.support.documents import JOB, STUDY

#: Of each route that isn't a GET request: who may send it, and all who come after them in `CALLERS`.
CHANGES = {
    "reader": {
        ("POST", "/plans"),
        ("POST", "/datasets/{name}/preview"),
    },
    "viewer": {
        ("POST", "/tokens"),
        ("DELETE", "/tokens/{token_id}"),
        ("POST", "/webhooks"),
        ("DELETE", "/webhooks/{webhook_id}"),
        ("POST", "/webhooks/{webhook_id}/test"),
    },
    "member": {
        ("POST", "/jobs"),
        ("PATCH", "/jobs/{job_id}"),
        ("DELETE", "/jobs/{job_id}"),
        ("DELETE", "/studies/{study_id}"),
        ("DELETE", "/datasets/{name}"),
        ("DELETE", "/projects/{name}"),
        ("POST", "/projects"),
        ("PATCH", "/projects/{name}"),
        ("PUT", "/projects/{name}/members/{person}"),
        ("DELETE", "/projects/{name}/members/{person}"),
        *(
            ("POST", f"/jobs/{{job_id}}/{verb}")
            for verb in ("cancel", "pause", "resume", "retry", "priority")
        ),
        ("POST", "/studies"),
        ("PATCH", "/studies/{study_id}"),
        *(
            ("POST", f"/studies/{{study_id}}/{verb}")
            for verb in (
                "cancel", "pause", "resume", "retry", "priority", "extend", "declarations",
            )
        ),
        ("POST", "/presets/{name}/runs"),
        ("POST", "/datasets"),
        ("POST", "/reservations"),
        ("DELETE", "/reservations/{reservation_id}"),
    },
    "admin": {
        ("POST", "/users"),
        ("PATCH", "/users/{name}"),
        ("PATCH", "/limits/roles/{role}"),
        ("PATCH", "/limits/users/{name}"),
        ("POST", "/gc"),
    },
}  # fmt: skip
#: Everybody reads everything else.
ADMINS_READ = {"/audit"}
#: The first has a token that only reads.
CALLERS = tuple(CHANGES)
VERBS = ["cancel", "pause", "resume", "retry"]


def routes(app: FastAPI) -> list[tuple[str, str]]:
    return [
        (method, path)
        for path, operations in app.openapi()["paths"].items()
        for method in (name.upper() for name in operations)
        if path.startswith("/api/v1")
    ]


def test_every_route_wants_a_token(app: FastAPI, sessions: sessionmaker[Session]) -> None:
    stranger = TestClient(app)
    assert len(routes(app)) > 40
    for method, path in routes(app):
        answer = stranger.request(method, path.replace("{", "").replace("}", ""))
        assert answer.status_code == 401, (method, path)
        assert answer.headers["WWW-Authenticate"].startswith("Bearer")
        assert answer.headers["content-type"] == "application/problem+json"


def test_a_wrong_token_opens_nothing(app: FastAPI, sessions: sessionmaker[Session]) -> None:
    for header in ("Bearer nl_nothing", "Bearer", "Basic YTpi", "nl_nothing", "Bearer \u00e9", ""):
        answer = TestClient(app).get("/api/v1/jobs", headers={"Authorization": header.encode()})
        assert answer.status_code == 401, header


def test_a_revoked_token_opens_nothing_from_the_next_request_on(member: TestClient) -> None:
    [token] = member.get("/api/v1/tokens").json()["items"]
    assert member.delete(f"/api/v1/tokens/{token['id']}").status_code == 204
    assert member.get("/api/v1/jobs").status_code == 401


def test_a_disabled_person_is_nobody(admin: TestClient, member: TestClient) -> None:
    assert admin.patch("/api/v1/users/max", json={"disabled": True}).status_code == 200
    assert member.get("/api/v1/jobs").status_code == 401
    assert admin.patch("/api/v1/users/max", json={"disabled": False}).json()["disabled_at"] is None
    assert member.get("/api/v1/jobs").status_code == 200


def test_every_route_that_changes_something_is_in_the_table(app: FastAPI) -> None:
    listed = {(method, f"/api/v1{path}") for routes in CHANGES.values() for method, path in routes}
    assert listed == {route for route in routes(app) if route[0] != "GET"}


@pytest.mark.parametrize("caller", CALLERS)
def test_each_route_is_for_those_of_the_table(
    app: FastAPI, sign_in: Callable[[str], TestClient], caller: str
) -> None:
    client = sign_in("ada:admin") if caller == "reader" else sign_in(f"ada:{caller}")
    if caller == "reader":
        body = {"name": "a dashboard", "scope": "read"}
        secret = client.post("/api/v1/tokens", json=body).json()["secret"]
        client = TestClient(app, headers={"Authorization": f"Bearer {secret}"})
    allowed = {
        (method, f"/api/v1{path}")
        for name in CALLERS[: CALLERS.index(caller) + 1]
        for method, path in CHANGES[name]
    }
    for method, path in routes(app):
        is_allowed = (method, path) in allowed
        if method == "GET":
            is_allowed = caller == "admin" or path.removeprefix("/api/v1") not in ADMINS_READ
        answer = client.request(method, fill_in(path), json=None if method == "GET" else {})
        assert (answer.status_code != 403) is is_allowed, (method, path, answer.text)
        assert answer.status_code not in (401, 500), (method, path, answer.text)


def fill_in(path: str) -> str:
    """With the names of what doesn't exist, but for a role, of which all do."""
    path = path.replace("{role}", "viewer").replace("{format}", "png")
    return re.sub(r"{(\w+)(?::path)?}", lambda one: "987654" if "id" in one[1] else "nothing", path)


def test_without_the_guard_of_roles_a_viewer_could_submit(app: FastAPI, viewer: TestClient) -> None:
    app.dependency_overrides[require_writer] = app.dependency_overrides.get(
        require_writer, get_current_user
    )
    try:
        assert viewer.post("/api/v1/jobs", json=JOB).status_code == 202
    finally:
        app.dependency_overrides.clear()


def test_a_member_changes_no_job_of_another(
    member: TestClient, sign_in: Callable[[str], TestClient]
) -> None:
    job = member.post("/api/v1/jobs", json=JOB).json()["id"]
    eve = sign_in("eve:member")
    for verb in VERBS:
        answer = eve.post(f"/api/v1/jobs/{job}/{verb}")
        assert answer.status_code == 403, verb
        assert "belongs to max" in answer.json()["detail"]
    assert eve.get(f"/api/v1/jobs/{job}").json()["status"] == "queued"


def test_a_member_changes_no_study_of_another(
    member: TestClient, sign_in: Callable[[str], TestClient]
) -> None:
    study = member.post("/api/v1/studies", json=STUDY).json()["id"]
    eve = sign_in("eve:member")
    for verb in (*VERBS, "extend"):
        answer = eve.post(f"/api/v1/studies/{study}/{verb}", json={"seeds": 1})
        assert answer.status_code == 403, verb
    assert eve.get(f"/api/v1/studies/{study}").json()["counts"]["queued"] == 4


def test_without_the_guard_of_owners_a_member_could_cancel_all(
    member: TestClient, sign_in: Callable[[str], TestClient], monkeypatch: pytest.MonkeyPatch
) -> None:
    job = member.post("/api/v1/jobs", json=JOB).json()["id"]
    study = member.post("/api/v1/studies", json=STUDY).json()["id"]
    for routes in (job_routes, study_routes):
        monkeypatch.setattr(routes, "ensure_own", lambda *_: None)
    eve = sign_in("eve:member")
    assert eve.post(f"/api/v1/jobs/{job}/cancel").json()["status"] == "cancelled"
    assert eve.post(f"/api/v1/studies/{study}/cancel").json()["status"] == "cancelled"


def test_an_admin_cancels_what_is_another_s(member: TestClient, admin: TestClient) -> None:
    job = member.post("/api/v1/jobs", json=JOB).json()["id"]
    assert admin.post(f"/api/v1/jobs/{job}/cancel").json()["status"] == "cancelled"
    last = admin.get(f"/api/v1/jobs/{job}/transitions").json()["items"][-1]
    assert (last["who"], last["to_status"]) == ("ada", "cancelled")


def test_everybody_reads_everything(member: TestClient, viewer: TestClient) -> None:
    job = member.post("/api/v1/jobs", json=JOB).json()["id"]
    assert viewer.get(f"/api/v1/jobs/{job}").json()["owner"] == "max"
    assert viewer.post("/api/v1/plans", json=STUDY).status_code == 200


def test_everybody_makes_and_revokes_tokens_of_their_own(app: FastAPI, viewer: TestClient) -> None:
    made = viewer.post("/api/v1/tokens", json={"name": "laptop"})
    assert made.status_code == 201
    secret = made.json()["secret"]
    headers = {"Authorization": f"Bearer {secret}"}
    assert TestClient(app, headers=headers).get("/api/v1/users/me").json()["name"] == "vera"
    listed = viewer.get("/api/v1/tokens").json()["items"]
    assert {token["name"] for token in listed} == {"laptop", "test"}
    assert [token["parent_id"] for token in listed] == [listed[1]["id"], None]
    assert "secret" not in listed[0]
    assert viewer.delete(f"/api/v1/tokens/{made.json()['id']}").status_code == 204
    assert TestClient(app, headers=headers).get("/api/v1/users/me").status_code == 401


def test_a_token_expires(app: FastAPI, member: TestClient) -> None:
    soon = datetime.now(UTC) + timedelta(seconds=1)
    body = {"name": "brief", "expires_at": soon.isoformat()}
    secret = member.post("/api/v1/tokens", json=body).json()["secret"]
    headers = {"Authorization": f"Bearer {secret}"}
    time.sleep(1.1)
    assert TestClient(app, headers=headers).get("/api/v1/users/me").status_code == 401


def test_a_token_that_expires_makes_none_that_lives_longer(
    app: FastAPI, member: TestClient
) -> None:
    end = datetime.now(UTC) + timedelta(hours=1)
    body = {"name": "brief", "expires_at": end.isoformat()}
    secret = member.post("/api/v1/tokens", json=body).json()["secret"]
    brief = TestClient(app, headers={"Authorization": f"Bearer {secret}"})

    child = brief.post("/api/v1/tokens", json={"name": "child", "expires_at": None}).json()
    late = {"name": "late", "expires_at": (end + timedelta(seconds=1)).isoformat()}
    refused = brief.post("/api/v1/tokens", json=late)

    assert datetime.fromisoformat(child["expires_at"]) == end
    assert refused.status_code == 422
    assert refused.json()["errors"][0]["pointer"] == "/expires_at"
    assert f"no later than {end.isoformat()}" in refused.json()["detail"]


def test_an_admin_s_token_that_expires_makes_none_for_another_that_lives_longer(
    app: FastAPI, admin: TestClient, viewer: TestClient
) -> None:
    end = datetime.now(UTC) + timedelta(hours=1)
    body = {"name": "brief", "expires_at": end.isoformat()}
    secret = admin.post("/api/v1/tokens", json=body).json()["secret"]
    brief = TestClient(app, headers={"Authorization": f"Bearer {secret}"})
    made = brief.post("/api/v1/tokens", json={"name": "hers", "user": "vera"}).json()
    assert datetime.fromisoformat(made["expires_at"]) == end


def test_a_revoked_token_takes_those_made_with_it_along_unless_they_are_kept(
    app: FastAPI, member: TestClient
) -> None:
    for query, status in (("", 401), ("?children=none", 200)):
        first = member.post("/api/v1/tokens", json={"name": "first"}).json()
        headers = {"Authorization": f"Bearer {first['secret']}"}
        second = TestClient(app, headers=headers).post("/api/v1/tokens", json={"name": "second"})
        member.delete(f"/api/v1/tokens/{first['id']}{query}")
        headers = {"Authorization": f"Bearer {second.json()['secret']}"}
        assert TestClient(app, headers=headers).get("/api/v1/users/me").status_code == status
    assert member.delete(f"/api/v1/tokens/{second.json()['id']}?children=all").status_code == 403


def test_a_person_has_so_many_tokens_and_no_more(
    member: TestClient, replace: Callable[..., None], settings: Settings
) -> None:
    replace(settings=settings.model_copy(update={"tokens_per_person": 2}))
    made = member.post("/api/v1/tokens", json={"name": "second"})
    refused = member.post("/api/v1/tokens", json={"name": "third"})
    assert (made.status_code, refused.status_code) == (201, 409)
    assert "max has 2 valid tokens and may have 2" in refused.json()["detail"]
    assert member.delete(f"/api/v1/tokens/{made.json()['id']}").status_code == 204
    assert member.post("/api/v1/tokens", json={"name": "third"}).status_code == 201


def test_the_last_token_of_the_last_admin_is_not_revoked(admin: TestClient) -> None:
    [token] = admin.get("/api/v1/tokens").json()["items"]
    refused = admin.delete(f"/api/v1/tokens/{token['id']}")
    assert refused.status_code == 409
    assert "create another token first" in refused.json()["detail"]
    assert admin.post("/api/v1/tokens", json={"name": "new"}).status_code == 201
    assert admin.delete(f"/api/v1/tokens/{token['id']}").status_code == 409
    assert admin.delete(f"/api/v1/tokens/{token['id']}?children=none").status_code == 204


def test_two_admins_who_demote_each_other_at_once_leave_one(
    sign_in: Callable[[str], TestClient], sessions: sessionmaker[Session]
) -> None:
    demotions = [(sign_in("ada:admin"), "bob"), (sign_in("bob:admin"), "ada")]

    def demote(demotion: tuple[TestClient, str]) -> int:
        client, name = demotion
        return client.patch(f"/api/v1/users/{name}", json={"role": "member"}).status_code

    with ThreadPoolExecutor(2) as pool:
        codes = list(pool.map(demote, demotions))

    # The slower one is refused for what it would do, or because its sender is no longer an admin.
    assert codes.count(200) == 1
    with sessions.begin() as session:
        assert [user.role for user in users.list_users(session)].count("admin") == 1


@pytest.mark.parametrize(
    "never", ["2020-01-01T00:00:00Z", "0001-01-01T00:00:00+14:00", "9999-12-31T23:59:59-14:00"]
)
def test_a_token_expires_in_a_future_that_can_be_read_again(
    member: TestClient, admin: TestClient, never: str
) -> None:
    # In UTC the last two are in the years 0 and 10000, which no driver reads back.
    answer = member.post("/api/v1/tokens", json={"name": "odd", "expires_at": never})
    assert answer.status_code == 422
    assert answer.json()["errors"][0]["pointer"] == "/expires_at"
    assert admin.get("/api/v1/tokens").status_code == 200


def test_another_s_tokens_are_an_admin_s_business_only(
    member: TestClient, viewer: TestClient, admin: TestClient
) -> None:
    [token] = viewer.get("/api/v1/tokens").json()["items"]
    assert member.delete(f"/api/v1/tokens/{token['id']}").status_code == 404
    assert member.post("/api/v1/tokens", json={"name": "x", "user": "vera"}).status_code == 403
    assert admin.post("/api/v1/tokens", json={"name": "x", "user": "vera"}).json()["user"] == "vera"
    assert admin.delete(f"/api/v1/tokens/{token['id']}").status_code == 204
    assert viewer.get("/api/v1/jobs").status_code == 401


def test_only_an_admin_lets_people_in(member: TestClient, admin: TestClient) -> None:
    emmy = {"name": "emmy", "role": "viewer"}
    assert member.post("/api/v1/users", json=emmy).status_code == 403
    assert member.patch("/api/v1/users/max", json={"role": "admin"}).status_code == 403
    assert admin.post("/api/v1/users", json=emmy).status_code == 201
    assert admin.post("/api/v1/users", json=emmy).status_code == 409
    assert admin.patch("/api/v1/users/emmy", json={"role": "member"}).json()["role"] == "member"
    assert admin.patch("/api/v1/users/nobody", json={}).status_code == 404
    assert admin.patch("/api/v1/users/ada", json={"role": "viewer"}).status_code == 409
    assert admin.post("/api/v1/users", json={"name": "x", "role": "king"}).status_code == 422
