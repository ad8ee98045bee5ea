"""The stream of changes, over real HTTP: what came since, what was missed, and when it ends."""

import json
import signal
from collections.abc import Iterator
from contextlib import contextmanager

import httpx
import pytest
from fastapi import FastAPI
from sqlalchemy.orm import Session, sessionmaker

from api.web import events
from runtime.http_server import QuietServer
from runtime.process import called_at_end
from store.accounts import users
from store.db import Changes, notify
from store.db.engine import JOBS_CHANNEL
from tests.support.waiting import PATIENCE_SECONDS, wait_for

Sessions = sessionmaker[Session]


@pytest.fixture
def changes(app: FastAPI) -> Changes:
    found: Changes = app.state.services.changes
    return found


@pytest.fixture
def token(sessions: Sessions) -> str:
    with sessions.begin() as session:
        return users.create_token(session, users.create_user(session, "max", "viewer"), "test")[1]


@contextmanager
def following(address: str, token: str, **headers: str) -> Iterator[Iterator[str]]:
    """The lines of a stream, without those between events."""
    sent = {"Authorization": f"Bearer {token}", **headers}
    since = headers.pop("since", None)
    sent.pop("since", None)
    with (
        httpx.Client(timeout=PATIENCE_SECONDS) as client,
        client.stream(
            "GET", f"{address}/events", headers=sent, params={"since": since} if since else None
        ) as answer,
    ):
        assert answer.status_code == 200
        assert answer.headers["content-type"].startswith("text/event-stream")
        lines = (line for line in answer.iter_lines() if line)
        # From now on it hears of changes, and of the server's end.
        assert next(lines) == "retry: 2000"
        yield lines


def read_event(lines: Iterator[str]) -> tuple[str, object]:
    """Its id and what it says."""
    event = dict(next(lines).split(": ", 1) for _ in range(3))
    assert event["event"] == "changed"
    return event["id"], json.loads(event["data"])


def announce(sessions: Sessions, changes: Changes, *jobs: int) -> None:
    """And wait until this process has heard of it."""
    for job in jobs:
        before = changes.mark
        with sessions.begin() as session:
            notify(session, JOBS_CHANNEL, str(job))
        wait_for(lambda before=before: changes.mark != before, "it is heard")


def test_a_page_hears_what_has_changed_since_it_was_rendered(
    address: str, token: str, sessions: Sessions, changes: Changes
) -> None:
    mark = changes.mark
    announce(sessions, changes, 7, 8)
    with following(address, token, since=mark) as lines:
        last, jobs = read_event(lines)
        assert jobs == [7, 8]
        announce(sessions, changes, 9)
        assert read_event(lines)[1] == [9]
    # Cut off, it asks for what came after the last event that it had.
    with following(address, token, **{"Last-Event-ID": last}) as lines:
        assert read_event(lines)[1] == [9]
    with following(address, token, since="of another process") as lines:
        assert read_event(lines)[1] is None


def test_the_stream_of_a_revoked_token_ends(
    address: str,
    token: str,
    sessions: Sessions,
    changes: Changes,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(events, "HEARTBEAT_SECONDS", 0.05)
    monkeypatch.setattr(events, "CHECK_SECONDS", 0.1)
    with following(address, token, since=changes.mark) as lines:
        assert next(lines) == ": still here"
        with sessions.begin() as session:
            [own] = users.list_tokens(session, users.find(session, "max"))
            users.revoke_token(session, own.id)
        assert all(line == ": still here" for line in lines)


def test_streams_end_when_the_server_is_asked_to(
    address: str, token: str, changes: Changes, monkeypatch: pytest.MonkeyPatch
) -> None:
    with following(address, token, since=changes.mark) as lines:
        # As uvicorn's handler of SIGTERM does.
        monkeypatch.setattr("uvicorn.Server.handle_exit", lambda *_: None)
        QuietServer.handle_exit(QuietServer.__new__(QuietServer), signal.SIGTERM, None)
        assert list(lines) == []


def test_who_has_gone_is_not_called() -> None:
    called = list[int]()
    with called_at_end(lambda: called.append(1)):
        pass
    server = QuietServer.__new__(QuietServer)
    server.should_exit, server.force_exit = False, False
    server._captured_signals = []
    server.handle_exit(signal.SIGTERM, None)
    assert called == []


def test_nobody_follows_without_a_token(address: str) -> None:
    assert httpx.get(f"{address}/events").status_code == 401
