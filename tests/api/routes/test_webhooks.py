"""Webhooks over REST and from the command line: everybody's own, with a secret that is shown once."""

import threading
from collections.abc import Callable, Iterator
from ipaddress import ip_network
from typing import Any

import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient
from sqlalchemy import func, select
from sqlalchemy.orm import Session, sessionmaker

from api.settings import Settings
from store.db.engine import make_engine, make_sessions
from store.db.models import AuditRecord, Delivery, EndedJob, Webhook
from store.webhooks import targets
from tests.support.cli import run_here
from tests.support.documents import STUDY
from tests.support.receiver import Receiver, receiver  # noqa: F401 - a fixture
from worker.sweep.notifier import Notifier
from worker.sweep.sending import Sender

Sessions = sessionmaker[Session]
URL = "https://hooks.example/services/T0/B1/password"


@pytest.fixture
def notifying(sessions: Sessions, worker_database_url: str) -> Iterator[None]:
    """A sweep that does nothing but tell, to this machine."""
    engine = make_engine(worker_database_url)
    notifier = Notifier(make_sessions(engine), Sender((ip_network("127.0.0.0/8"),), 60.0), None)
    stop = threading.Event()

    def run() -> None:
        while not stop.wait(0.1):
            notifier.run()

    thread = threading.Thread(target=run)
    thread.start()
    yield
    stop.set()
    thread.join()
    notifier.stop()
    engine.dispose()


def add(client: TestClient, **options: Any) -> dict[str, Any]:
    answer = client.post("/api/v1/webhooks", json={"url": URL, **options})
    assert answer.status_code == 201, answer.text
    made: dict[str, Any] = answer.json()
    return made


def list_of(client: TestClient) -> list[dict[str, Any]]:
    items: list[dict[str, Any]] = client.get("/api/v1/webhooks").json()["items"]
    return items


def count(sessions: Sessions, table: Any) -> int:
    with sessions.begin() as session:
        return session.scalars(select(func.count()).select_from(table)).one()


def test_the_secret_is_shown_once(member: TestClient, sessions: Sessions) -> None:
    made = add(member)
    assert made["secret"].startswith("whsec_")
    [listed] = list_of(member)
    assert listed == {key: value for key, value in made.items() if key != "secret"}
    assert listed["url"] == URL
    with sessions.begin() as session:
        [record] = session.scalars(select(AuditRecord)).all()
        assert record.action == "webhook.created"
        assert "password" not in str(record.detail)


def test_a_webhook_is_its_person_s_own_and_an_admin_sees_it_without_its_path(
    app: FastAPI, member: TestClient, admin: TestClient, viewer: TestClient
) -> None:
    number = add(member)["id"]
    assert list_of(viewer) == []
    for method, path in (("DELETE", ""), ("POST", "/test")):
        assert viewer.request(method, f"/api/v1/webhooks/{number}{path}").status_code == 404
    body = {"name": "a dashboard", "scope": "read"}
    secret = member.post("/api/v1/tokens", json=body).json()["secret"]
    reading = TestClient(app, headers={"Authorization": f"Bearer {secret}"})
    for client in (admin, reading):
        assert [one["url"] for one in list_of(client)] == ["https://hooks.example/…"]
    assert admin.delete(f"/api/v1/webhooks/{number}").status_code == 204
    assert list_of(member) == []


@pytest.mark.parametrize(
    ("url", "why"),
    [
        ("ftp://hooks.example/1", "must be a URL with a host"),
        ("hooks.example/1/2/3", "must be a URL with a host"),
        ("https:///services", "must be a URL with a host"),
        ("https://ada:secret@hooks.example", "must have no user name"),
        ("https://hooks.example:99999/", "must be a URL"),
        ("https://hooks.example/#part", "must have no fragment"),
        ("https://hooks.example/a b", "no spaces"),
        ("https://hooks.example/\r\nX-Other: 1", "no spaces"),
        ("https://[::1/hook", "must be a URL"),
    ],
)
def test_a_url_that_is_no_target_is_refused_with_the_reason(
    member: TestClient, url: str, why: str
) -> None:
    answer = member.post("/api/v1/webhooks", json={"url": url})
    assert answer.status_code == 422
    assert answer.json()["errors"][0]["pointer"] == "/url"
    assert why in answer.json()["detail"]


def test_a_webhook_names_a_study_or_a_project_that_is_there(member: TestClient) -> None:
    study = member.post("/api/v1/studies", json=STUDY).json()["id"]
    assert add(member, study=study)["study"] == study
    assert add(member, project="digits", format="slack")["project"] == "digits"
    for options, pointer in (({"study": 987654}, "/study"), ({"project": "no"}, "/project")):
        answer = member.post("/api/v1/webhooks", json={"url": URL, **options})
        assert answer.status_code == 422
        assert answer.json()["errors"][0]["pointer"] == pointer
    both = member.post("/api/v1/webhooks", json={"url": URL, "study": study, "project": "digits"})
    assert "not both" in both.json()["detail"]


def test_a_person_has_so_many_webhooks_and_no_more(
    member: TestClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(targets, "MOST", 1)
    add(member)
    refused = member.post("/api/v1/webhooks", json={"url": URL})
    assert refused.status_code == 409
    assert "max has 1 webhooks and may have 1" in refused.json()["detail"]


def test_a_webhook_goes_with_its_study_and_what_was_to_be_told_with_it(
    member: TestClient, sessions: Sessions
) -> None:
    study = member.post("/api/v1/studies", json=STUDY).json()["id"]
    number = add(member, study=study)["id"]
    assert member.post(f"/api/v1/webhooks/{number}/test").status_code == 202
    assert member.post(f"/api/v1/studies/{study}/cancel").status_code == 200
    assert count(sessions, EndedJob) == 4
    assert member.delete(f"/api/v1/studies/{study}").status_code == 204
    assert [count(sessions, table) for table in (Webhook, EndedJob, Delivery)] == [0, 0, 0]


def test_a_webhook_goes_with_the_token_that_it_was_added_with(
    app: FastAPI, member: TestClient, sign_in: Callable[[str], TestClient]
) -> None:
    made = member.post("/api/v1/tokens", json={"name": "leaked"}).json()
    leaked = TestClient(app, headers={"Authorization": f"Bearer {made['secret']}"})
    add(leaked)
    kept = add(member)["id"]
    assert member.delete(f"/api/v1/tokens/{made['id']}").status_code == 204
    assert [one["id"] for one in list_of(member)] == [kept]


def test_a_person_adds_tries_and_removes_a_webhook_from_the_command_line(
    member: TestClient,
    address: str,
    notifying: None,
    receiver: Receiver,  # noqa: F811
) -> None:
    token = member.headers["Authorization"].removeprefix("Bearer ")
    here = {"NORMLAB_URL": address, "NORMLAB_TOKEN": token}
    added = run_here("webhook", "add", receiver.url, **here)
    assert b"whsec_" in added.stdout
    [webhook] = list_of(member)
    number = str(webhook["id"])

    receiver.answers = [500]
    failed = run_here("webhook", "test", number, **here)
    assert failed.returncode == 1
    assert b"it answered 500" in failed.stderr
    [failure] = member.get(f"/api/v1/webhooks/{number}/deliveries").json()["items"]
    assert (failure["state"], failure["attempts"]) == ("waiting", 1)
    assert failure["failure"] == "it answered 500"
    arrived = run_here("webhook", "test", number, **here)
    assert arrived.returncode == 0, arrived.stderr
    assert b"has arrived" in arrived.stdout
    assert b"delivered" in run_here("webhook", "messages", number, **here).stdout
    listed = run_here("webhook", "list", **here).stdout.decode()
    assert receiver.url in listed
    assert "all of yours" in listed
    assert b"is removed" in run_here("webhook", "remove", number, **here).stdout
    assert list_of(member) == []


def test_the_messages_of_a_webhook_are_listed_newest_first(
    member: TestClient, viewer: TestClient, sessions: Sessions
) -> None:
    study = member.post("/api/v1/studies", json=STUDY).json()["id"]
    number = add(member, study=study)["id"]
    path = f"/api/v1/webhooks/{number}/deliveries"
    for _ in range(3):
        member.post(f"/api/v1/webhooks/{number}/test")
    with sessions.begin() as session:
        told = Delivery(
            webhook_id=number, study_id=study, message_id="msg_1", event="study 1", body="{}"
        )
        session.add(told)
    first = member.get(path, params={"limit": 2}).json()
    assert [one["study"] for one in first["items"]] == [study, None]
    assert {one["state"] for one in first["items"]} == {"waiting"}
    rest = member.get(path, params={"limit": 2, "cursor": first["next_cursor"]}).json()
    assert len(rest["items"]) == 2
    assert rest["next_cursor"] is None
    assert viewer.get(path).status_code == 404


def test_a_message_about_what_one_may_not_read_any_more_is_not_listed(
    member: TestClient, admin: TestClient, sign_in: Callable[[str], TestClient], sessions: Sessions
) -> None:
    member.post("/api/v1/projects", json={"name": "shelf", "visibility": "private"})
    eve, people = sign_in("eve:member"), "/api/v1/projects/shelf/members"
    member.put(f"{people}/eve", json={"role": "viewer"})
    study = member.post("/api/v1/studies", json={**STUDY, "project": "shelf"}).json()["id"]
    number = add(eve, study=study)["id"]
    with sessions.begin() as session:
        told = Delivery(
            webhook_id=number, study_id=study, message_id="msg_1", event="study 1", body="{}"
        )
        session.add(told)
    path = f"/api/v1/webhooks/{number}/deliveries"
    assert len(eve.get(path).json()["items"]) == 1
    assert f'href="/studies/{study}"' in eve.get("/webhooks").text.partition('id="messages"')[2]
    member.delete(f"{people}/eve")
    assert eve.get(path).json()["items"] == []
    assert f'href="/studies/{study}"' not in eve.get("/webhooks").text.partition('id="messages"')[2]


@pytest.fixture
def mailing(settings: Settings, replace: Callable[..., None]) -> None:
    """The API of a service that has a mail server."""
    given = {"smtp_url": "smtp://mail.example", "mail_from": "normlab@lab.example"}
    replace(settings=Settings.model_validate({**dict(settings), **given, "mail_domains": ()}))


def test_an_address_takes_mail_and_is_its_person_s_own(
    member: TestClient, admin: TestClient, mailing: None
) -> None:
    made = add(member, url="mailto:max@LAB.example")
    assert (made["format"], made["secret"]) == ("mail", None)
    assert [one["url"] for one in list_of(admin)] == ["mailto:…@LAB.example"]
    assert member.post(f"/api/v1/webhooks/{made['id']}/test").status_code == 202


def test_without_a_mail_server_an_address_is_refused_with_the_setting(member: TestClient) -> None:
    answer = member.post("/api/v1/webhooks", json={"url": "mailto:max@lab.example"})
    assert answer.status_code == 422
    [error] = answer.json()["errors"]
    assert error["pointer"] == "/url"
    assert "NORMLAB_SMTP_URL is not set" in error["detail"]


@pytest.mark.parametrize(
    ("body", "why"),
    [
        ({"url": "mailto:max@evil.example"}, "of lab.example only"),
        ({"url": "mailto:max@sub.lab.example"}, "of lab.example only"),
        ({"url": "mailto:max@lab.example?cc=eve@evil.example"}, "one address"),
        ({"url": "mailto:max@lab.example,eve@evil.example"}, "one address"),
        ({"url": "mailto:max@lab.example\r\nBcc: eve@evil.example"}, "one address"),
        ({"url": "mailto:max%0a@lab.example"}, "one address"),
        ({"url": "mailto:ma..x@lab.example"}, "one address"),
        ({"url": "mailto:.max@lab.example"}, "one address"),
        ({"url": "mailto:max.@lab.example"}, "one address"),
        ({"url": "mailto:max@lab.example", "format": "slack"}, "the format `mail` is that of mailto:"),
        ({"url": URL, "format": "mail"}, "the format `mail` is that of mailto:"),
    ],
)  # fmt: skip
def test_an_address_that_takes_no_mail_is_refused_with_the_reason(
    member: TestClient, mailing: None, body: dict[str, str], why: str
) -> None:
    answer = member.post("/api/v1/webhooks", json=body)
    assert answer.status_code == 422
    assert why in answer.json()["detail"]
