"""What MLflow lacks is said on the job, on its study, and of all of them together."""

from fastapi.testclient import TestClient
from sqlalchemy.orm import Session, sessionmaker

from store.mlflow import mirror_problems
from store.mlflow.mirror_problems import Subject
from tests.support.documents import JOB, STUDY

REASON = "MlflowException: Timestamp must be a nonnegative long"


def test_where_nothing_lacks_nothing_is_said(member: TestClient) -> None:
    job = member.post("/api/v1/jobs", json=JOB).json()
    assert job["mirror_problems"] == []
    assert member.get("/api/v1/mirror").json() == {"count": 0, "problems": []}


def test_a_job_its_study_and_the_list_say_what_mlflow_lacks_and_why(
    member: TestClient, sessions: sessionmaker[Session]
) -> None:
    study = member.post("/api/v1/studies", json=STUDY).json()["id"]
    job = member.get(f"/api/v1/studies/{study}/jobs").json()["items"][0]
    with sessions.begin() as session:
        subject = Subject("run", job_id=job["id"])
        mirror_problems.record_failure(session, subject, REASON, at_once=False)
        mirror_problems.note(session, Subject("deleted", study_id=study), "somebody deleted it")
    of_job = member.get(f"/api/v1/jobs/{job['id']}").json()["mirror_problems"]
    [problem] = of_job
    assert (problem["kind"], problem["reason"], problem["attempts"]) == ("run", REASON, 1)
    assert problem["since"] < problem["next_at"]

    answer = member.get(f"/api/v1/studies/{study}").json()
    assert [one["kind"] for one in answer["mirror_problems"]] == ["deleted", "run"]
    assert answer["mirror_problems"][1] == problem
    assert answer["mirror_problem_count"] == 2

    mirror = member.get("/api/v1/mirror", params={"limit": 1}).json()
    assert mirror["count"] == 2
    assert mirror["problems"] == [{**problem, "name": job["name"]}]
