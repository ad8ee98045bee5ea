"""Errors outside of the pages' own routes: a page for a browser, problem+json for programs, the same words for both."""

from collections.abc import Callable
from pathlib import Path

import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient

from api.web import studies
from store.db import make_engine, make_readers, make_sessions

BROWSER = {"Accept": "text/html,application/xhtml+xml,*/*;q=0.8"}


@pytest.mark.parametrize("headers", [BROWSER, {}], ids=["browser", "program"])
@pytest.mark.parametrize(
    ("method", "path", "status", "words"),
    [
        ("GET", "/nothing", 404, "here is nothing at /nothing"),
        ("POST", "/studies", 405, "/studies takes GET, HEAD, not POST"),
        ("GET", "/logout", 405, "/logout takes POST, not GET"),
    ],
)
def test_an_address_that_does_not_exist_is_a_page_for_a_browser_alone(
    app: FastAPI, method: str, path: str, status: int, words: str, headers: dict[str, str]
) -> None:
    answer = TestClient(app).request(method, path, headers=headers)
    assert answer.status_code == status
    kind = "text/html" if headers else "application/problem+json"
    assert answer.headers["content-type"].startswith(kind)
    assert words in answer.text
    assert answer.headers["x-content-type-options"] == "nosniff"
    if headers:
        assert 'href="/studies"' in answer.text
        assert "script-src 'self'" in answer.headers["content-security-policy"]
    if status == 405:
        assert all(one in words for one in answer.headers["allow"].split(", "))


@pytest.mark.parametrize("path", ["/api/v1/nothing", "/static/nothing.js", "/docs/nothing"])
def test_what_programs_ask_for_is_answered_as_to_programs(app: FastAPI, path: str) -> None:
    answer = TestClient(app).get(path, headers=BROWSER)
    assert answer.status_code == 404
    assert answer.headers["content-type"] == "application/problem+json"


def test_what_the_address_says_is_text(app: FastAPI) -> None:
    answer = TestClient(app).get("/<script>alert(1)</script>", headers=BROWSER)
    assert "<script>alert" not in answer.text
    assert "&lt;script&gt;alert(1)" in answer.text


def test_an_unforeseen_error_of_a_page_is_a_page(
    member: TestClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(studies, "build_study_views", lambda *_: 1 / 0)
    answer = member.get("/studies", headers=BROWSER)
    assert answer.status_code == 500
    assert answer.headers["content-type"].startswith("text/html")
    assert "urn:uuid:" in answer.text
    assert "division" not in answer.text
    assert answer.headers["cache-control"] == "no-store"
    assert 'href="/studies">Try again' in answer.text


def test_without_a_database_a_page_says_to_come_back(
    app: FastAPI, replace: Callable[..., None], tmp_path: Path
) -> None:
    engine = make_engine(f"postgresql://nobody@/nothing?host={tmp_path}")
    sessions = make_sessions(engine)
    replace(engine=engine, sessions=sessions, readers=make_readers(sessions))
    browser = TestClient(app, headers={**BROWSER, "Authorization": "Bearer nl_x"})
    for path in ("/", "/studies/3", "/jobs/3?tab=log", "/admin"):
        answer = browser.get(path)
        assert answer.status_code == 503
        assert answer.headers["content-type"].startswith("text/html")
        assert int(answer.headers["retry-after"]) > 0
        assert "the database does not answer" in answer.text.lower()
        assert f'href="{path}">Try again' in answer.text
    # Nothing of a login is needed to show the form, and sending it says what is wrong.
    assert browser.get("/login").status_code == 200
    answer = browser.post("/login", data={"token": "nl_x"})
    assert answer.status_code == 503
    assert "Try again" not in answer.text
