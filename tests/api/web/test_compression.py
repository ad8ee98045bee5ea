"""Pages and their files are sent compressed; what programs download, and the stream of events, as they are."""

import gzip
import re
from pathlib import Path

import httpx
import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient
from sqlalchemy.orm import Session, sessionmaker

from store.accounts import users
from tests.support.documents import study
from tests.support.trained_study import train_all

#: Of one page with all that it loads.
MOST_BYTES = 150_000


@pytest.fixture
def trained(member: TestClient, sessions: sessionmaker[Session], storage: Path) -> int:
    made: int = member.post(
        "/api/v1/studies", json=study(matrix={"training.batch_size": [64, 32]})
    ).json()["id"]
    train_all(sessions, storage)
    return made


def first_job(client: TestClient, study_id: int) -> int:
    [*_, job] = client.get(f"/api/v1/studies/{study_id}/jobs").json()["items"]
    return int(job["id"])


def fetch(client: TestClient, path: str, **headers: str) -> tuple[httpx.Headers, bytes]:
    """Its headers, and the bytes as they were sent."""
    with client.stream("GET", path, headers=headers) as answer:
        assert answer.status_code in (200, 206, 304), path
        return answer.headers, b"".join(answer.iter_raw())


def test_a_page_with_all_its_files_is_small(trained: int, member: TestClient) -> None:
    job = f"/jobs/{first_job(member, trained)}"
    for path in ("/", "/studies", f"/studies/{trained}", job, "/admin", "/login"):
        page = member.get(path).text
        assets = sorted(set(re.findall(r'(?:src|href)="(/static/[^"]+)"', page)))
        sent = {one: fetch(member, one) for one in (path, *assets)}
        for address, (headers, body) in sent.items():
            if len(body) > 500 and not address.endswith(".png"):
                assert headers["content-encoding"] == "gzip", address
        assert sum(len(body) for _, body in sent.values()) <= MOST_BYTES, path


def test_a_file_is_the_same_compressed_or_not_and_known_by_one_tag(member: TestClient) -> None:
    path = "/static/page.js"
    plain_headers, plain = fetch(member, path, **{"Accept-Encoding": "identity"})
    headers, body = fetch(member, path, **{"Accept-Encoding": "gzip"})
    assert gzip.decompress(body) == plain
    assert "content-encoding" not in plain_headers
    assert int(plain_headers["content-length"]) == len(plain)
    # Either none, or that of what is sent.
    assert headers.get("content-length", str(len(body))) == str(len(body))
    assert headers["vary"] == "Accept-Encoding"
    assert headers["etag"] == plain_headers["etag"]
    assert headers["etag"].startswith('W/"')
    again = member.get(path, headers={"If-None-Match": headers["etag"]})
    assert (again.status_code, again.content) == (304, b"")
    assert again.headers["etag"] == headers["etag"]


def test_what_pages_load_beside_their_files_is_compressed(trained: int, member: TestClient) -> None:
    for path in ("schemas/study", f"studies/{trained}/curves"):
        headers, _ = fetch(member, f"/api/v1/{path}", **{"Accept-Encoding": "gzip"})
        assert headers["content-encoding"] == "gzip"
    picture, _ = fetch(
        member, f"/api/v1/studies/{trained}/curves?format=png", **{"Accept-Encoding": "gzip"}
    )
    assert "content-encoding" not in picture


@pytest.mark.parametrize("part", ["files/predictions.npy", "checkpoints/{checkpoint}", "epochs"])
def test_what_programs_read_is_sent_as_it_is(trained: int, member: TestClient, part: str) -> None:
    job = f"/api/v1/jobs/{first_job(member, trained)}"
    checkpoint = member.get(f"{job}/checkpoints").json()["items"][0]["id"]
    headers, body = fetch(
        member, f"{job}/{part.format(checkpoint=checkpoint)}", **{"Accept-Encoding": "gzip"}
    )
    assert "content-encoding" not in headers
    assert int(headers["content-length"]) == len(body)


def test_an_export_is_streamed_as_it_is(trained: int, member: TestClient) -> None:
    headers, _ = fetch(member, "/api/v1/results/export", **{"Accept-Encoding": "gzip"})
    assert "content-encoding" not in headers


def test_events_are_not_held_back_to_be_compressed(
    app: FastAPI, address: str, sessions: sessionmaker[Session]
) -> None:
    with sessions.begin() as session:
        _, secret = users.create_token(session, users.create_user(session, "vic", "viewer"), "test")
    headers = {"Authorization": f"Bearer {secret}", "Accept-Encoding": "gzip"}
    with httpx.stream("GET", f"{address}/events", headers=headers) as answer:
        assert "content-encoding" not in answer.headers
        assert next(answer.iter_lines()) == "retry: 2000"
