"""The page of webhooks: a person's own, what became of their messages, and a form that is filled in by its address."""

import re
from datetime import timedelta

from fastapi import FastAPI
from fastapi.testclient import TestClient
from sqlalchemy import func, select
from sqlalchemy.orm import Session, sessionmaker

from store.db.models import Delivery
from tests.support.documents import STUDY

Sessions = sessionmaker[Session]
URL = "https://hooks.example/services/T0/password"


def read(client: TestClient, query: str = "") -> str:
    answer = client.get(f"/webhooks{query}")
    assert answer.status_code == 200, answer.text
    return answer.text


def test_a_person_sees_their_own_and_an_admin_all_without_their_paths(
    member: TestClient, admin: TestClient, viewer: TestClient
) -> None:
    number = member.post("/api/v1/webhooks", json={"url": URL}).json()["id"]
    page = read(member)
    assert URL in page
    assert f'data-send="POST /api/v1/webhooks/{number}/test"' in page
    assert f'data-send="DELETE /api/v1/webhooks/{number}"' in page
    page = read(admin)
    assert "password" not in page
    assert f'data-send="DELETE /api/v1/webhooks/{number}"' in page.partition('id="others"')[2]
    # Viewers have webhooks, too.
    page = read(viewer)
    assert f'id="webhook-{number}"' not in page
    assert 'id="new-webhook"' in page
    assert "You have none. Add one below." in page


def test_what_became_of_each_message_is_said(member: TestClient, sessions: Sessions) -> None:
    number = member.post("/api/v1/webhooks", json={"url": URL}).json()["id"]
    assert "nothing sent yet" in read(member)
    for _ in range(3):
        assert member.post(f"/api/v1/webhooks/{number}/test").status_code == 202
    page = read(member)
    assert "3 waiting, is due" in page
    # It is asked for again and again until the first attempt.
    assert " data-late>" in page
    with sessions.begin() as session:
        arrived, given_up, waiting = session.scalars(select(Delivery).order_by(Delivery.id))
        arrived.delivered_at = func.now()
        given_up.given_up_at = func.now()
        for failed in (given_up, waiting):
            failed.error = "<b>it answered 500"
        waiting.next_at = func.now() + timedelta(hours=1)
        for message in (arrived, given_up, waiting):
            message.attempts = 1
    page = read(member)
    assert "1 given up" in page
    assert "1 waiting, next attempt <time" in page
    # At the webhook, of the latest; and at both messages.
    assert page.count("&lt;b&gt;it answered 500") == 3
    assert "the last arrived" in page
    messages = page.partition('id="messages"')[2]
    states = [messages.count(f">{word}</span>") for word in ("arrived", "given up", "waiting")]
    assert states == [1, 1, 1]
    assert "data-late" not in page


def test_the_form_is_filled_in_for_the_study_or_project_that_one_came_from(
    member: TestClient,
) -> None:
    study = member.post("/api/v1/studies", json={**STUDY, "project": "shelf"}).json()["id"]
    link = f'href="/webhooks?study={study}"'
    assert link in member.get(f"/studies/{study}").text
    assert re.search(rf'name="study"[^>]* value="{study}"', read(member, f"?study={study}"))
    assert 'href="/webhooks?project=shelf"' in member.get("/projects/shelf").text
    page = read(member, "?project=shelf")
    assert re.search(r'name="project"[^>]* value="shelf"', page)
    assert re.search(r'<fieldset class="fields" data-for="study" hidden disabled>', page)
    assert '"><script>' not in read(member, "?project=%22%3E%3Cscript%3E")


def test_a_session_that_only_reads_is_offered_nothing_to_change(
    app: FastAPI, member: TestClient
) -> None:
    member.post("/api/v1/webhooks", json={"url": URL})
    made = member.post("/api/v1/tokens", json={"name": "a dashboard", "scope": "read"}).json()
    browser = TestClient(app, follow_redirects=False)
    browser.post("/login", data={"token": made["secret"]})
    page = read(browser)
    assert "data-send" not in page
    assert "password" not in page
    assert "is read-only" in page


def test_mail_is_offered_where_the_service_sends_any(member: TestClient) -> None:
    page = read(member)
    assert "This service sends no mail" in page
    assert "mailto:" not in page
