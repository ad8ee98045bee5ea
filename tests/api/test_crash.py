"""The API process dies between a commit and its answer; the same request is sent again."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient
from sqlalchemy import func, select
from sqlalchemy.orm import Session, sessionmaker

from api.settings import Settings
from store.db.models import Job, Study
from store.hosts.storage import adopt_storage

JOB = {
    "dataset": {"name": "digits"},
    "model": {"name": "mlp", "hidden": [8]},
    "norm": {"kind": "none"},
}
STUDY = {
    "name": "crash",
    "base": {key: JOB[key] for key in ("dataset", "model")},
    "variants": {"none": {"norm": {"kind": "none"}}, "batch": {"norm": {"kind": "batch"}}},
    "seeds": 2,
}


@pytest.fixture
def dying_api(
    settings: Settings, sessions: sessionmaker[Session]
) -> Iterator[Callable[[], tuple[subprocess.Popen[bytes], str]]]:
    started: list[subprocess.Popen[bytes]] = []
    adopt_storage(sessions, settings.storage)
    environment = {
        **os.environ,
        "NORMLAB_DATABASE_URL": settings.database_url,
        "NORMLAB_REDIS_URL": settings.redis_url,
        "NORMLAB_STORAGE": str(settings.storage),
    }

    def start() -> tuple[subprocess.Popen[bytes], str]:
        command = [
            *(sys.executable, "-m", "uvicorn", "tests.support.dying_api:make_app", "--factory"),
            *("--host", "127.0.0.1", "--port", "0"),
        ]
        process = subprocess.Popen(
            command, env=environment, cwd=Path(__file__).parents[2], stderr=subprocess.PIPE
        )
        started.append(process)
        return process, _address(process)

    yield start
    for process in started:
        process.kill()
        process.wait()
        assert process.stderr is not None
        process.stderr.close()


@pytest.mark.parametrize(("path", "body", "jobs"), [("jobs", JOB, 1), ("studies", STUDY, 4)])
def test_a_request_that_was_committed_but_not_answered_is_answered_when_sent_again(
    dying_api: Callable[[], tuple[subprocess.Popen[bytes], str]],
    app: FastAPI,
    admin: TestClient,
    sessions: sessionmaker[Session],
    path: str,
    body: dict[str, object],
    jobs: int,
) -> None:
    process, address = dying_api()
    headers = {"Authorization": admin.headers["Authorization"], "Idempotency-Key": "once"}
    with pytest.raises(httpx.RemoteProtocolError):
        _post_once_ready(f"{address}/api/v1/{path}", body, headers)
    assert process.wait(120) == -signal.SIGKILL

    again = admin.post(f"/api/v1/{path}", json=body, headers=headers)

    assert again.status_code == 202
    with sessions.begin() as session:
        assert session.scalar(select(func.count()).select_from(Job)) == jobs
        newest = session.scalar(select(func.max(Study.id if path == "studies" else Job.id)))
    assert again.json()["id"] == newest


def _address(process: subprocess.Popen[bytes]) -> str:
    assert process.stderr is not None
    for line in process.stderr:
        if b"running on " in line:
            return line.split(b"running on ")[1].split()[0].decode()
    raise AssertionError("the API ended before it listened")


def _post_once_ready(url: str, body: dict[str, object], headers: dict[str, str]) -> None:
    """Its checker takes some seconds to load torch; until then the answer is 503."""
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline:
        answer = httpx.post(url, json=body, headers=headers, timeout=60)
        assert answer.status_code == 503, answer.text
        time.sleep(0.5)
