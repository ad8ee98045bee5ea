"""A command right after `docker compose up -d` waits for the service that NORMLAB_URL names, and says so."""

import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from normlab.client import readiness, transport
from normlab.client.client import Client
from normlab.errors import NotReachable, Refused
from normlab.home import Home
from tests.normlab.client.test_transport import Script, make_home, serve, unused_url


@pytest.fixture
def script(monkeypatch: pytest.MonkeyPatch) -> Script:
    monkeypatch.setattr(transport, "_RETRY_PAUSES", (0.01, 0.01))
    monkeypatch.setattr(readiness, "_PAUSE_SECONDS", 0.01)
    return Script()


@pytest.fixture
def client(script: Script, monkeypatch: pytest.MonkeyPatch) -> Iterator[Client]:
    with serve(script) as url:
        monkeypatch.setenv("NORMLAB_URL", url)
        with Client(token="nl_secret") as client:
            yield client


def asked(script: Script) -> list[tuple[str, str]]:
    return [(method, path.removeprefix("/api/v1")) for method, path, _, _ in script.seen]


def test_a_port_that_hangs_up_is_waited_for(
    client: Client, script: Script, capsys: pytest.CaptureFixture[str]
) -> None:
    # Docker's proxy listens before anything listens behind it, and hangs up.
    script.answers = [None, None]
    script.say(503, {"detail": "not ready: checker"})
    script.say(200, {"detail": "ready"})
    script.say(200, {"id": 1})
    assert client.show("j1") == {"id": 1}
    assert asked(script) == [("GET", "/jobs/1"), *[("GET", "/readyz")] * 3, ("GET", "/jobs/1")]
    said = capsys.readouterr().err
    assert "is not ready yet" in said
    assert "waiting for up to 120 s" in said
    assert "is ready after" in said


def test_what_is_not_ready_to_check_specs_is_waited_for(client: Client, script: Script) -> None:
    script.say(503, {"title": "the helper is starting"}, Retry_After="5")
    script.say(503, {"detail": "not ready: checker"})
    script.say(200, {"detail": "ready"})
    script.say(202, {"id": 7})
    assert str(client.submit({"norm": {"kind": "batch"}})) == "j7"
    keys = {headers.get("Idempotency-Key") for _, _, headers, _ in script.seen} - {None}
    assert len(keys) == 1


def test_an_order_waits_before_it_is_sent_once(client: Client, script: Script) -> None:
    script.answers = [None, None]
    script.say(200, {"detail": "ready"})
    script.say(200, {"status": "cancelled"})
    client.cancel("j1")
    waits = [("GET", "/healthz"), ("GET", "/readyz"), ("GET", "/readyz")]
    assert asked(script) == [*waits, ("POST", "/jobs/1/cancel")]


def test_a_ready_service_that_is_busy_is_tried_again_without_a_word(
    client: Client, script: Script, capsys: pytest.CaptureFixture[str]
) -> None:
    script.say(503, {"title": "busy"})
    script.say(200, {"detail": "ready"})
    script.say(503, {"title": "busy"}, Retry_After="0")
    script.say(202, {"id": 3})
    assert str(client.submit({"variants": {}})) == "s3"
    assert capsys.readouterr().err == ""


def test_a_service_that_has_answered_once_is_not_waited_for_any_more(
    client: Client, script: Script
) -> None:
    script.say(200, {"id": 1})
    client.show("j1")
    script.answers = [None]
    with pytest.raises(NotReachable):
        client.show("j1")
    assert len(script.seen) == 2


def test_a_wait_that_is_over_names_what_was_configured(
    monkeypatch: pytest.MonkeyPatch, script: Script
) -> None:
    monkeypatch.setattr(readiness, "READY_SECONDS", 0.0)
    monkeypatch.setenv("NORMLAB_URL", unused_url())
    with Client(token="nl_secret") as client, pytest.raises(NotReachable) as raised:
        client.show("j1")
    assert "check NORMLAB_URL" in str(raised.value)
    assert "normlab up" not in str(raised.value)


def test_something_else_that_answers_there_is_not_waited_for(
    client: Client, script: Script
) -> None:
    script.say(502, b"<html>gateway</html>")
    script.say(404, b"<html>not here</html>")
    with pytest.raises(Refused, match="gateway"):
        client.show("j1")
    assert len(script.seen) == 2


def test_a_host_name_that_leads_nowhere_is_not_waited_for(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def unknown(*arguments: object, **more: object) -> None:
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", unknown)
    monkeypatch.setenv("NORMLAB_URL", "http://no-such-host")
    with Client(token="nl_secret") as client, pytest.raises(NotReachable, match="not known"):
        client.show("j1")
    assert capsys.readouterr().err == ""


def test_a_local_stack_that_is_starting_is_waited_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, script: Script
) -> None:
    monkeypatch.delenv("NORMLAB_URL", raising=False)
    monkeypatch.delenv("NORMLAB_TOKEN", raising=False)
    script.answers = [None]
    script.say(200, {"detail": "ready"})
    script.say(200, {"id": 1})
    with serve(script) as url:
        make_home(monkeypatch, tmp_path, url, phase="starting")
        with Home(tmp_path).lock(), Client() as client:
            assert client.show("j1") == {"id": 1}
