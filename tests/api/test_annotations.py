"""Tags, notes and archiving over REST."""

from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient
from sqlalchemy.orm import Session, sessionmaker

from tests.support.documents import JOB, STUDY
from tests.support.trained_study import train_all

API = "/api/v1"


@pytest.fixture
def study(member: TestClient, sessions: sessionmaker[Session], storage: Path) -> str:
    """The path of one that has ended."""
    made = member.post(f"{API}/studies", json=STUDY).json()
    train_all(sessions, storage)
    return f"{API}/studies/{made['id']}"


def items(client: TestClient, path: str, **parameters: Any) -> list[Any]:
    found: list[Any] = client.get(f"{API}/{path}", params=parameters).json()["items"]
    return found


def test_a_study_is_tagged_noted_and_found_by_its_tag(member: TestClient, study: str) -> None:
    answer = member.patch(study, json={"tags": ["paper", "fig:3", "paper"], "note": "appendix"})
    assert answer.status_code == 200
    assert (answer.json()["tags"], answer.json()["note"]) == (["paper", "fig:3"], "appendix")
    assert answer.json() == member.get(study).json()
    assert len(items(member, "studies", tag="fig:3")) == 1
    assert items(member, "studies", tag="fig") == []
    assert len(items(member, "jobs", tag="paper")) == 4


def test_what_is_archived_is_out_of_the_lists_and_nothing_is_gone(
    member: TestClient, study: str
) -> None:
    assert member.patch(study, json={"archived": True}).json()["archived"] is True
    assert items(member, "studies") == items(member, "jobs") == []
    assert len(items(member, "studies", archived=True)) == 1
    assert len(items(member, "jobs", archived=True)) == 4
    number = study.rsplit("/", 1)[1]
    assert len(items(member, "jobs", study=number)) == 4
    assert len(items(member, f"studies/{number}/jobs")) == 4
    assert member.get(f"{study}/comparison").status_code == 200
    member.patch(study, json={"archived": False})
    assert len(items(member, "jobs")) == 4


def test_a_job_is_annotated_by_its_owner(
    member: TestClient, admin: TestClient, viewer: TestClient
) -> None:
    job = admin.post(f"{API}/jobs", json=JOB).json()["id"]
    path = f"{API}/jobs/{job}"
    assert member.patch(path, json={"note": "mine"}).status_code == 403
    assert viewer.patch(path, json={"note": "mine"}).status_code == 403
    assert admin.patch(path, json={"note": "mine"}).json()["note"] == "mine"
    assert admin.patch(path, json={"archived": True}).status_code == 409
    assert admin.patch(f"{API}/jobs/999", json={}).status_code == 404


@pytest.mark.parametrize(
    ("body", "pointer"),
    [
        ({"tags": ["two words"]}, "/tags/0"),
        ({"tags": ["x" * 61]}, "/tags/0"),
        ({"tags": [""]}, "/tags/0"),
        ({"tags": "paper"}, "/tags"),
        ({"tags": [f"t{n}" for n in range(51)]}, "/tags"),
        ({"note": "x" * 10_001}, "/note"),
        ({"archived": "yes"}, "/archived"),
        ({"color": "red"}, "/color"),
    ],
)
def test_a_bad_annotation_is_refused(
    member: TestClient, study: str, body: dict[str, Any], pointer: str
) -> None:
    before = member.get(study).json()
    answer = member.patch(study, json=body)
    assert answer.status_code == 422
    assert pointer in [error["pointer"] for error in answer.json()["errors"]]
    assert member.get(study).json() == before


def test_what_a_tag_may_be_is_said_in_words(member: TestClient, study: str) -> None:
    answer = member.patch(study, json={"tags": ["two words"]})
    assert answer.json()["errors"][0]["detail"] == (
        "must have 1 to 60 letters, digits and _ . : -, but got 'two words'"
    )
