"""Clients that go away in the middle, over real sockets: no internal error, and nothing is left of them."""

import asyncio
import logging
import socket
import time
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
import uvicorn
from fastapi.testclient import TestClient
from sqlalchemy.orm import Session, sessionmaker
from starlette.types import Message, Receive, Scope, Send
from structlog.testing import capture_logs

from api.http.disconnects import GoneClients
from store.db.models import File
from tests.support.documents import JOB
from tests.support.waiting import wait_for


def connect(address: str, lines: str, member: TestClient) -> socket.socket:
    """A connection on which a request was begun."""
    url = urlsplit(address)
    connection = socket.create_connection((url.hostname, url.port), timeout=30)
    head = f"Host: {url.netloc}\r\nAuthorization: {member.headers['authorization']}"
    method, _, rest = lines.partition("\r\n")
    connection.sendall(f"{method} HTTP/1.1\r\n{head}\r\n{rest}\r\n".encode())
    return connection


def wait_until_idle(server: uvicorn.Server) -> None:
    """Until no request is being answered."""
    wait_for(lambda: not server.server_state.tasks, "the server is idle", pause=0.01)


@pytest.mark.parametrize("framing", ["Content-Length: 1000", "Transfer-Encoding: chunked"])
def test_half_a_body_is_one_line_in_the_log_and_no_error(
    server: uvicorn.Server,
    address: str,
    member: TestClient,
    caplog: pytest.LogCaptureFixture,
    framing: str,
) -> None:
    half = '{"norm":' if "Length" in framing else '8\r\n{"norm":\r\n'
    with capture_logs() as logs:
        with connect(address, f"POST /api/v1/jobs\r\n{framing}\r\n", member) as connection:
            connection.sendall(half.encode())
            while not server.server_state.tasks:
                time.sleep(0.01)
        wait_until_idle(server)
    assert logs == [
        {
            "event": "the client went away",
            "log_level": "info",
            "method": "POST",
            "path": "/api/v1/jobs",
        }
    ]
    assert not [record for record in caplog.records if record.levelno >= logging.WARNING]


@pytest.mark.parametrize("path", ["files/weights.pt", "export"])
def test_a_download_that_is_left_is_no_error(
    server: uvicorn.Server,
    address: str,
    member: TestClient,
    sessions: sessionmaker[Session],
    storage: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    path: str,
) -> None:
    job = member.post("/api/v1/jobs", json=JOB).json()["id"]
    (storage / "weights.pt").write_bytes(bytes(20_000_000))
    with sessions.begin() as session:
        session.add(File(job_id=job, name="weights.pt", path="weights.pt", bytes=2, digest=""))
    monkeypatch.setattr("api.routes.results.spool_rows", lambda *_: iter([bytes(100_000)] * 200))
    target = "/api/v1/results/export" if path == "export" else f"/api/v1/jobs/{job}/{path}"

    with capture_logs() as logs:
        with connect(address, f"GET {target}\r\n", member) as connection:
            assert connection.recv(1000).startswith(b"HTTP/1.1 200")
        wait_until_idle(server)

    assert [entry for entry in logs if entry["log_level"] != "info"] == []
    assert not [record for record in caplog.records if record.levelno >= logging.WARNING]
    assert member.get("/api/v1/users/me").status_code == 200


def test_a_server_that_says_so_by_an_error_is_understood_too() -> None:
    """As ASGI 2.4 has it, in the middle of an answer."""

    async def stream(scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"half", "more_body": True})

    async def receive() -> Message:
        raise AssertionError

    async def send(message: Message) -> None:
        if message["type"] == "http.response.body":
            raise BrokenPipeError

    scope: dict[str, Any] = {"type": "http", "method": "GET", "path": "/events"}
    with capture_logs() as logs:
        asyncio.run(GoneClients(stream)(scope, receive, send))
    assert [entry["event"] for entry in logs] == ["the client went away"]
