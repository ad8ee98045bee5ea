"""A browser's way in: the token makes a session, which only our own pages can use to change anything."""

import re
from datetime import timedelta

import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient
from sqlalchemy import select, update
from sqlalchemy.orm import Session, sessionmaker

from store.accounts import users
from store.accounts.users import Role
from store.db import BrowserSession, Token, database_now
from tests.support.documents import JOB

Sessions = sessionmaker[Session]


@pytest.fixture
def browser(app: FastAPI) -> TestClient:
    return TestClient(app, follow_redirects=False)


def make_token(sessions: Sessions, name: str = "max", role: Role = "member") -> str:
    with sessions.begin() as session:
        return users.create_token(session, users.create_user(session, name, role), "laptop")[1]


def log_in(browser: TestClient, token: str, target: str = "/studies") -> None:
    answer = browser.post("/login", data={"token": token, "next": target})
    assert (answer.status_code, answer.headers["location"]) == (303, target)


def csrf_of(browser: TestClient) -> str:
    found = re.search(r'data-csrf="([0-9a-f]{64})"', browser.get("/").text)
    assert found
    return found[1]


def test_whoever_is_not_logged_in_is_led_to_the_login_and_back(
    browser: TestClient, sessions: Sessions
) -> None:
    answer = browser.get("/studies?tag=a%26b")
    assert (answer.status_code, answer.headers["location"]) == (
        303, "/login?next=%2Fstudies%3Ftag%3Da%2526b",
    )  # fmt: skip
    form = browser.get(answer.headers["location"]).text
    assert 'name="next" value="/studies?tag=a%26b"' in form
    log_in(browser, make_token(sessions), "/studies?tag=a%26b")
    assert browser.get("/studies?tag=a%26b").status_code == 200


def test_a_part_that_is_asked_for_without_a_session_leads_the_whole_page_to_the_login(
    browser: TestClient,
) -> None:
    headers = {"HX-Request": "true", "HX-Current-URL": "http://testserver/studies/3"}
    answer = browser.get("/studies/3", headers=headers)
    assert answer.status_code == 401
    assert answer.headers["HX-Redirect"] == "/login?next=%2Fstudies%2F3"


def test_the_cookie_can_be_read_by_no_script_and_is_sent_from_no_other_site(
    browser: TestClient, sessions: Sessions
) -> None:
    answer = browser.post("/login", data={"token": make_token(sessions)})
    cookie = answer.headers["set-cookie"].lower()
    assert all(part in cookie for part in ("httponly", "samesite=strict", "path=/"))
    assert "secure" not in cookie
    encrypted = TestClient(browser.app, base_url="https://testserver", follow_redirects=False)
    answer = encrypted.post("/login", data={"token": make_token(sessions, "eve")})
    assert "secure" in answer.headers["set-cookie"].lower()


@pytest.mark.parametrize("token", ["", "nl_unknown", "é\x00"])
def test_a_wrong_token_is_refused_in_words(browser: TestClient, token: str) -> None:
    answer = browser.post("/login", data={"token": token, "next": "/studies"})
    assert answer.status_code == 401
    assert "set-cookie" not in answer.headers
    assert 'role="alert"' in answer.text
    assert 'value="/studies"' in answer.text


@pytest.mark.parametrize(
    "target", ["https://evil.test/", "//evil.test", "/\\evil.test", "evil", "/a\r\nX: y", ""]
)
def test_a_login_leads_to_no_other_site(
    browser: TestClient, sessions: Sessions, target: str
) -> None:
    answer = browser.post("/login", data={"token": make_token(sessions), "next": target})
    assert answer.headers["location"] == "/"


def test_another_site_can_log_nobody_in(browser: TestClient, sessions: Sessions) -> None:
    answer = browser.post(
        "/login", data={"token": make_token(sessions)}, headers={"Sec-Fetch-Site": "cross-site"}
    )
    assert answer.status_code == 403
    assert "set-cookie" not in answer.headers


def test_a_session_reads_everything_and_changes_only_with_the_page_s_token(
    browser: TestClient, sessions: Sessions
) -> None:
    log_in(browser, make_token(sessions))
    assert browser.get("/api/v1/jobs").status_code == 200
    for headers in ({}, {"X-CSRF-Token": "0" * 64}, {"X-CSRF-Token": ""}):
        answer = browser.post("/api/v1/jobs", json=JOB, headers=headers)
        assert answer.status_code == 403
        assert "reload the page" in answer.json()["detail"]
    answer = browser.post("/api/v1/jobs", json=JOB, headers={"X-CSRF-Token": csrf_of(browser)})
    assert answer.status_code == 202
    assert answer.json()["owner"] == "max"


def test_the_token_of_one_session_is_not_that_of_another(
    app: FastAPI, browser: TestClient, sessions: Sessions
) -> None:
    log_in(browser, make_token(sessions))
    other = TestClient(app, follow_redirects=False)
    log_in(other, make_token(sessions, "eve"))
    answer = browser.post("/logout", headers={"X-CSRF-Token": csrf_of(other)})
    assert answer.status_code == 403
    assert browser.get("/").status_code == 200


def test_logging_out_ends_the_session_and_not_the_token(
    browser: TestClient, sessions: Sessions
) -> None:
    token = make_token(sessions)
    log_in(browser, token)
    [cookie] = browser.cookies.jar
    answer = browser.post("/logout", headers={"X-CSRF-Token": csrf_of(browser)})
    assert answer.status_code == 204
    # Also for whoever has copied the cookie.
    browser.cookies.set(cookie.name, cookie.value or "")
    assert browser.get("/").status_code == 303
    headers = {"Authorization": f"Bearer {token}"}
    assert browser.get("/api/v1/jobs", headers=headers).status_code == 200


def test_what_does_not_exist_is_a_page_of_whoever_is_logged_in(
    browser: TestClient, sessions: Sessions
) -> None:
    log_in(browser, make_token(sessions))
    for path in ("/studies/999", "/nothing", "/studies?archived=maybe"):
        answer = browser.get(path, headers={"Accept": "text/html"})
        assert answer.status_code in (404, 422)
        assert "<span>max</span>" in answer.text
        assert "Log out" in answer.text
        assert "Account" in answer.text


def test_a_session_ends_with_its_token(browser: TestClient, sessions: Sessions) -> None:
    log_in(browser, make_token(sessions))
    with sessions.begin() as session:
        users.revoke_token(session, session.scalars(select(Token.id)).one())
    answer = browser.get("/")
    assert answer.status_code == 303
    # The browser forgets it: the login is no page of somebody who is logged in.
    assert "max-age=0" in answer.headers["set-cookie"].lower()
    login = browser.get(answer.headers["location"]).text
    assert "Log out" not in login
    assert "Your session has ended" in login


def test_a_session_expires_no_later_than_its_token(browser: TestClient, sessions: Sessions) -> None:
    token = make_token(sessions)
    with sessions.begin() as session:
        end = database_now(session) + timedelta(hours=1)
        session.execute(update(Token).values(expires_at=end))
    answer = browser.post("/login", data={"token": token})
    [length] = re.findall(r"max-age=(\d+)", answer.headers["set-cookie"].lower())
    assert 0 < int(length) <= 3600
    with sessions.begin() as session:
        assert session.scalars(select(BrowserSession.expires_at)).one() == end
        session.execute(update(BrowserSession).values(expires_at=database_now(session)))
    assert browser.get("/").status_code == 303


def test_a_session_is_no_token(browser: TestClient, sessions: Sessions) -> None:
    """Neither for programs, nor among those that a person may have, nor as an admin's last way in."""
    token = make_token(sessions, "ann", "admin")
    log_in(browser, token)
    [cookie] = browser.cookies.jar
    headers = {"Authorization": f"Bearer {cookie.value}"}
    assert TestClient(browser.app).get("/api/v1/jobs", headers=headers).status_code == 401
    [only] = browser.get("/api/v1/tokens").json()["items"]
    answer = browser.delete(
        f"/api/v1/tokens/{only['id']}", headers={"X-CSRF-Token": csrf_of(browser)}
    )
    assert answer.status_code == 409


def test_a_login_replaces_the_session_before_and_a_person_has_only_so_many(
    app: FastAPI, browser: TestClient, sessions: Sessions, monkeypatch: pytest.MonkeyPatch
) -> None:
    token = make_token(sessions)
    for _ in range(3):
        log_in(browser, token)
    with sessions.begin() as session:
        assert len(session.scalars(select(BrowserSession.id)).all()) == 1
    monkeypatch.setattr("store.accounts.sessions.MOST", 2)
    for _ in range(2):
        log_in(TestClient(app, follow_redirects=False), token)
    # That of the browser was the first.
    assert browser.get("/").status_code == 303


def test_a_login_is_short(browser: TestClient) -> None:
    answer = browser.post("/login", data={"token": "x" * 20_000})
    assert answer.status_code == 413


@pytest.mark.parametrize("origin", ["https://evil.test", "null", "http://testserver.evil.test"])
def test_another_origin_can_log_nobody_in(
    browser: TestClient, sessions: Sessions, origin: str
) -> None:
    data = {"token": make_token(sessions)}
    assert browser.post("/login", data=data, headers={"Origin": origin}).status_code == 403
    ours = browser.post("/login", data=data, headers={"Origin": "http://testserver"})
    assert ours.status_code == 303


def test_a_link_on_another_site_is_followed_once_more_from_ours(browser: TestClient) -> None:
    answer = browser.get("/studies?tag=a", headers={"Sec-Fetch-Site": "cross-site"})
    assert answer.status_code == 200
    assert 'content="0; url=/studies?tag=a"' in answer.text
