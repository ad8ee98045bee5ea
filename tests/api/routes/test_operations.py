"""Who has used the machines and whose turn it is; what MLflow lacks is said on the job, on its study, and of all."""

from functools import partial
from pathlib import Path

import pytest
from fastapi.testclient import TestClient
from sqlalchemy.orm import Session, sessionmaker

from store.jobs import commands
from store.mlflow import mirror_problems
from store.mlflow.mirror_problems import Subject
from studies.planning.waiting import Line, read_line
from tests.support.documents import JOB, STUDY
from tests.support.factories import acquire_job, finish_training, make_worker
from trainer.events import CheckpointSaved

REASON = "MlflowException: Timestamp must be a nonnegative long"


def test_everybody_reads_their_share_and_why_it_is_or_is_not_their_turn(
    admin: TestClient, member: TestClient, sessions: sessionmaker[Session]
) -> None:
    nobody = member.get("/api/v1/usage").json()
    assert nobody == {"half_life_seconds": 86400.0, "items": []}
    for seed in (1, 2):
        member.post("/api/v1/jobs", json={**JOB, "seed": seed})
        admin.post("/api/v1/jobs", json={**JOB, "seed": seed})
    with sessions.begin() as session:
        make_worker(session)
        assert acquire_job(session) is not None
    assert admin.patch("/api/v1/users/max", json={"weight": 2}).json()["weight"] == 2

    first, second = member.get("/api/v1/usage").json()["items"]

    assert (first["user"], first["running"], first["queued"], first["turn"]) == ("max", 1, 1, 2)
    assert (first["share"], first["weight"]) == (1.0, 2.0)
    assert first["weighted_seconds"] == first["seconds"] / 2
    assert first["running_seconds"] == first["seconds"]
    assert first["since"] is not None
    assert first["why"] == (
        "5 min of device time counts, divided by the weight 2: 2 min; at the same priority, "
        "jobs of ada (0 s) come first"
    )
    assert (second["user"], second["turn"], second["since"]) == ("ada", 1, None)
    assert second["why"].endswith("so that they are next")


def test_the_queue_says_of_each_job_why_it_waits_and_for_whom(
    member: TestClient, sessions: sessionmaker[Session]
) -> None:
    jobs = [
        member.post("/api/v1/jobs", json={**JOB, "seed": seed}).json()["id"] for seed in range(3)
    ]
    with sessions.begin() as session:
        make_worker(session)
        assert acquire_job(session) is not None

    queue = member.get("/api/v1/queue").json()

    assert queue["estimates"] is None
    first, second = queue["queued"]
    assert (first["id"], first["position"], first["reason"]) == (jobs[1], 1, "no_free_slot")
    assert (second["reason"], second["behind"]) == ("behind", {"max": 1})
    job = member.get(f"/api/v1/jobs/{jobs[2]}").json()
    assert job["obstacle"] is None
    assert job["waiting"] == {
        "reason": "behind",
        "detail": "behind 1 job of max",
        "position": 2,
        "behind": {"max": 1},
        "expected_start_at": None,
    }
    member.post(f"/api/v1/jobs/{jobs[2]}/pause")
    assert member.get(f"/api/v1/jobs/{jobs[2]}").json()["waiting"]["reason"] == "paused"


def test_a_job_far_down_the_queue_is_told_how_many_are_ahead_at_least(
    member: TestClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("api.routes.jobs.read_line", partial(read_line, most=1))
    member.post("/api/v1/jobs", json=JOB)
    job = member.post("/api/v1/jobs", json={**JOB, "seed": 1}).json()["id"]

    waiting = member.get(f"/api/v1/jobs/{job}").json()["waiting"]

    assert (waiting["reason"], waiting["detail"]) == ("behind", "behind at least 1 job")
    assert waiting["position"] is None


def test_a_job_that_is_claimed_while_it_is_read_waits_no_longer(
    member: TestClient, sessions: sessionmaker[Session], monkeypatch: pytest.MonkeyPatch
) -> None:
    job = member.post("/api/v1/jobs", json=JOB).json()["id"]

    def read_late(session: Session) -> Line:
        with sessions.begin() as other:
            make_worker(other)
            assert acquire_job(other) is not None
        return read_line(session)

    monkeypatch.setattr("api.routes.jobs.read_line", read_late)
    answer = member.get(f"/api/v1/jobs/{job}")

    assert answer.status_code == 200
    assert answer.json()["waiting"] is None


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


def test_members_reserve_devices_for_a_day_and_admins_whole_hosts(
    admin: TestClient, member: TestClient, viewer: TestClient, sessions: sessionmaker[Session]
) -> None:
    with sessions.begin() as session:
        make_worker(session, cuda=1)
    device = {"host": "alpha", "kind": "cuda", "number": 0, "lasts": "2h", "why": "a demonstration"}
    host = {"host": "alpha", "lasts": "3d", "why": "new memory"}
    path = "/api/v1/reservations"
    for client, document in ((viewer, device), (member, host), (member, {**device, "lasts": "2d"})):
        assert client.post(path, json=document).status_code == 403
    made = member.post(path, json=device)
    assert made.status_code == 201
    assert (made.json()["owner"], made.json()["number"]) == ("max", 0)
    assert member.post(path, json=device).status_code == 409
    assert member.post(path, json={**device, "host": "beta"}).status_code == 404
    wrong = member.post(path, json={"host": "alpha", "kind": "cuda", "lasts": "2h", "why": "x"})
    assert "a device has both kind and number" in wrong.text
    drained = admin.post(path, json=host).json()
    assert [one["kind"] for one in viewer.get(path).json()["items"]] == ["cuda", None]
    devices = {
        one["kind"]: one["reserved"] for one in viewer.get("/api/v1/devices").json()["items"]
    }
    assert "cuda 0 is reserved by max" in devices["cuda"]
    assert "alpha is reserved by ada" in devices["cpu"]
    assert "alpha is reserved by ada" in viewer.get("/").text
    # Each releases their own; an admin any.
    assert member.delete(f"{path}/{drained['id']}").status_code == 403
    assert member.delete(f"{path}/{made.json()['id']}").status_code == 204
    assert member.delete(f"{path}/{made.json()['id']}").status_code == 404
    assert admin.delete(f"{path}/{drained['id']}").status_code == 204
    assert viewer.get(path).json()["items"] == []


def test_an_admin_sees_whose_files_fill_the_disk_and_removes_old_checkpoints(
    admin: TestClient, member: TestClient, sessions: sessionmaker[Session], storage: Path
) -> None:
    admin.patch("/api/v1/limits/users/max", json={"disk_bytes": "20GB"})
    job = member.post("/api/v1/jobs", json=JOB).json()["id"]
    path = f"jobs/{job}/attempt-1/last.pt"
    with sessions.begin() as session:
        make_worker(session)
        assignment = acquire_job(session)
        assert assignment is not None
        event = CheckpointSaved("last", 0, 1, path, "d" * 32, 7)
        commands.record_checkpoint(session, job, 1, event)
        finish_training(session, assignment)
    file = storage / path
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(b"content")

    disk = member.get("/api/v1/disk").json()
    assert disk["items"] == [
        {"user": "max", "checkpoint_bytes": 7, "file_bytes": 0, "limit_bytes": 20_000_000_000}
    ]
    assert disk["removable"] == {"checkpoints": 0, "bytes": 0}
    now = {"older_than": 1e-6}
    assert member.post("/api/v1/gc", json=now).status_code == 403
    found = {"checkpoints": 1, "bytes": 7}
    assert admin.post("/api/v1/gc", json={**now, "dry_run": True}).json() == found
    assert file.exists()
    assert admin.post("/api/v1/gc", json=now).json() == found
    assert not file.exists()
    # Once more finds nothing, and nothing is wrong with that.
    assert admin.post("/api/v1/gc", json=now).json() == {"checkpoints": 0, "bytes": 0}
    assert member.get("/api/v1/disk").json()["items"] == []
