"""How many SQL statements a request takes: no more for many jobs than for few."""

from typing import Any

import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient

from tests.support.documents import JOB, STUDY, changed
from tests.support.statements import counting_statements

SEEDS = (2, 40)


def count(app: FastAPI, client: TestClient, method: str, path: str, **sent: Any) -> int:
    with counting_statements(app.state.services.engine) as statements:
        answer = client.request(method, f"/api/v1{path}", **sent)
    assert answer.is_success, answer.text
    return len(statements)


@pytest.fixture
def known(member: TestClient) -> TestClient:
    """A client whose token, project and checks the service has seen before."""
    assert member.post("/api/v1/jobs", json=JOB).status_code == 202
    assert member.post("/api/v1/plans", json=STUDY).status_code == 200
    return member


def test_a_job_is_accepted_with_six_statements(app: FastAPI, known: TestClient) -> None:
    # The token with its user, the dataset, the project, the dataset's lock, equal jobs that have succeeded, and one
    # for the job, its first transition and its announcement.
    assert count(app, known, "POST", "/jobs", json=JOB) == 6
    assert count(app, known, "POST", "/jobs?fresh=true", json=JOB) == 5


def test_a_repeatable_submission_asks_for_its_key_besides(app: FastAPI, known: TestClient) -> None:
    # Looked up before the check, and stored with the job.
    headers = {"Idempotency-Key": "once"}
    assert count(app, known, "POST", "/jobs", json=JOB, headers=headers) == 8


def test_a_token_is_looked_up_in_one_statement(app: FastAPI, known: TestClient) -> None:
    assert count(app, known, "GET", "/presets") == 1


@pytest.mark.parametrize(("path", "most"), [("/plans", 18), ("/studies", 16)])
def test_a_study_takes_as_many_statements_with_many_cells_as_with_few(
    app: FastAPI, known: TestClient, path: str, most: int
) -> None:
    few, many = (
        # Studies that differ in their seeds alone would be found to be the same.
        count(app, known, "POST", path, json=changed(STUDY, description=f"{seeds}", seeds=seeds))
        for seeds in SEEDS
    )
    assert few == many <= most


def test_reading_a_job_takes_a_bounded_number_of_statements(
    app: FastAPI, known: TestClient
) -> None:
    job = known.post("/api/v1/jobs", json=JOB).json()["id"]
    assert count(app, known, "GET", f"/jobs/{job}") <= 10


@pytest.mark.parametrize("path", ["", "/jobs"])
def test_reading_a_study_takes_as_many_statements_with_many_jobs_as_with_few(
    app: FastAPI, known: TestClient, path: str
) -> None:
    few, many = (
        known.post("/api/v1/studies", json=changed(STUDY, name=f"{seeds}", seeds=seeds)).json()
        for seeds in SEEDS
    )
    counts = {count(app, known, "GET", f"/studies/{one['id']}{path}") for one in (few, many)}
    assert len(counts) == 1
    assert counts.pop() <= 8
