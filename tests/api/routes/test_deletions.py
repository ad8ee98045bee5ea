"""Deletion for good: only of what has ended, by its owner or an admin, with nothing left but what others need."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient
from sqlalchemy import select, text
from sqlalchemy.orm import Session, sessionmaker

from runtime.files import write_file
from runtime.storage import FolderStorage
from store.catalog import projects
from store.db import InUse, NotFound
from store.db.models import Deletion, Mirrored, Table
from store.deletions import deleting, leftovers
from store.jobs import commands, maintenance, usage
from store.reuse import answers
from tests.support.documents import JOB, STUDY
from tests.support.factories import acquire_job, finish_training, make_dataset, make_worker
from trainer.events import CheckpointSaved
from worker.sweep.orphans import delete_left, delete_orphans

Sessions = sessionmaker[Session]
Clients = Callable[[str], TestClient]


def submit(client: TestClient, **changes: Any) -> int:
    answer = client.post("/api/v1/jobs", json={**JOB, **changes})
    assert answer.status_code == 202, answer.text
    return int(answer.json()["id"])


def train(sessions: Sessions, storage: Path | None = None) -> int:
    """The next job to its end, with a checkpoint and its file."""
    with sessions.begin() as session:
        make_worker(session)
        job = acquire_job(session)
        assert job is not None
        path = f"jobs/{job.job_id}/attempt-1/best.pt"
        saved = CheckpointSaved("best", 1, 1, path, "d" * 32, 1)
        commands.record_checkpoint(session, job.job_id, 1, saved)
        finish_training(session, job)
    if storage is not None:
        write_file(storage / path, b"x")
        write_file(storage / f"job_drawings/{job.job_id}/curves.png", b"x")
    return job.job_id


def rows_of(sessions: Sessions, column: str, value: int) -> set[str]:
    """The tables that still have a row of it; marks aside."""
    owner = {"job_id": "jobs", "study_id": "studies"}[column]
    with sessions.begin() as session:
        return {
            name
            for name, table in Table.metadata.tables.items()
            if name != "deletions"
            and (wanted := "id" if name == owner else column) in table.columns
            and session.scalar(text(f"SELECT 1 FROM {name} WHERE {wanted} = {value} LIMIT 1"))
        }


def test_a_job_is_gone_with_all_its_rows_and_files(
    member: TestClient, admin: TestClient, sessions: Sessions, tmp_path: Path
) -> None:
    job = submit(member)
    train(sessions, tmp_path)
    with sessions.begin() as session:
        session.add(Mirrored(job_id=job, run_id="a" * 32, experiment_id="7", state={"key": "k"}))
    assert {"jobs", "attempts", "epochs", "transitions", "results"} <= rows_of(
        sessions, "job_id", job
    )

    assert member.delete(f"/api/v1/jobs/{job}").status_code == 204

    assert rows_of(sessions, "job_id", job) == set()
    assert member.get(f"/api/v1/jobs/{job}").status_code == 404
    assert member.get("/api/v1/jobs").json()["items"] == []
    assert member.get("/api/v1/results").json()["items"] == []
    assert delete_left(sessions, FolderStorage(tmp_path)) == 2
    assert not [path for path in tmp_path.rglob("*") if path.is_file()]
    with sessions.begin() as session:
        mark = session.scalars(select(Deletion)).one()
    assert mark.mirrored == {"run_id": "a" * 32, "experiment_id": "7", "key": "k"}
    assert mark.files_at is not None
    [record] = admin.get("/api/v1/audit?action=job.deleted").json()["items"]
    assert (record["user"], record["subject"]) == ("max", f"j{job}")


def test_a_figure_that_was_being_drawn_goes_later(
    member: TestClient, sessions: Sessions, tmp_path: Path
) -> None:
    job, storage = submit(member), FolderStorage(tmp_path)
    member.post(f"/api/v1/jobs/{job}/cancel")
    member.delete(f"/api/v1/jobs/{job}")
    delete_left(sessions, storage)
    late = tmp_path / f"job_drawings/{job}/curves.png"
    write_file(late, b"x")
    with sessions.begin() as session:
        assert leftovers.look_again(session) == 0
        session.execute(
            text(
                "UPDATE deletions SET at = at - interval '2 h', files_at = files_at - interval '2 h'"
            )
        )
        assert leftovers.look_again(session) == 1
    delete_left(sessions, storage)
    with sessions.begin() as session:
        assert leftovers.look_again(session) == 0
    assert not late.exists()


def test_a_second_request_is_answered_like_the_first(
    member: TestClient, sessions: Sessions
) -> None:
    job = submit(member)
    member.post(f"/api/v1/jobs/{job}/cancel")
    assert [member.delete(f"/api/v1/jobs/{job}").status_code for _ in range(2)] == [204, 204]
    assert member.delete(f"/api/v1/jobs/{job + 1}").status_code == 404
    assert submit(member) > job


@pytest.mark.parametrize("visibility", ["open", "private"])
def test_a_second_request_to_delete_a_project_is_answered_like_the_first(
    member: TestClient, sign_in: Clients, visibility: str
) -> None:
    eve, shelf = sign_in("eve:member"), "/api/v1/projects/shelf"
    member.post("/api/v1/projects", json={"name": "shelf", "visibility": visibility})
    member.put(f"{shelf}/members/eve", json={"role": "admin"})
    assert [member.delete(shelf).status_code for _ in range(2)] == [204, 204]
    # Nobody else learns of it.
    assert eve.delete(shelf).status_code == 404
    # The name is somebody else's now.
    eve.post("/api/v1/projects", json={"name": "shelf"})
    assert member.delete(shelf).status_code == 403
    assert [eve.delete(shelf).status_code for _ in range(2)] == [204, 204]
    assert member.get(shelf).status_code == 404


def test_a_study_goes_with_its_jobs(member: TestClient, sessions: Sessions, tmp_path: Path) -> None:
    study = member.post("/api/v1/studies", json=STUDY).json()["id"]
    jobs = [train(sessions, tmp_path) for _ in range(4)]
    write_file(tmp_path / f"studies/{study}/ended/report.html", b"x")
    other = tmp_path / f"studies/{study}1/ended/report.html"
    write_file(other, b"x")

    assert member.delete(f"/api/v1/studies/{study}").status_code == 204

    assert rows_of(sessions, "study_id", study) == set()
    assert [rows_of(sessions, "job_id", job) for job in jobs] == [set()] * 4
    delete_left(sessions, FolderStorage(tmp_path))
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == [other]


@pytest.mark.parametrize("kind", ["jobs", "studies"])
def test_what_goes_on_is_not_deleted(member: TestClient, kind: str) -> None:
    body = JOB if kind == "jobs" else STUDY
    made = member.post(f"/api/v1/{kind}", json=body).json()["id"]
    refused = member.delete(f"/api/v1/{kind}/{made}")
    assert refused.status_code == 409
    assert "not ended: cancel" in refused.json()["detail"]
    assert member.get(f"/api/v1/{kind}/{made}").status_code == 200


def test_a_study_loses_no_single_job(member: TestClient, sessions: Sessions) -> None:
    study = member.post("/api/v1/studies", json=STUDY).json()["id"]
    job = train(sessions)
    refused = member.delete(f"/api/v1/jobs/{job}")
    assert refused.status_code == 409
    assert f"belongs to study {study}" in refused.json()["detail"]


@pytest.mark.parametrize("kind", ["jobs", "studies"])
def test_another_s_is_not_deleted(member: TestClient, sign_in: Clients, kind: str) -> None:
    body = JOB if kind == "jobs" else STUDY
    made = member.post(f"/api/v1/{kind}", json=body).json()["id"]
    member.post(f"/api/v1/{kind}/{made}/cancel")
    assert sign_in("eve:member").delete(f"/api/v1/{kind}/{made}").status_code == 403
    assert sign_in("ada:admin").delete(f"/api/v1/{kind}/{made}").status_code == 204


def test_a_job_that_was_answered_keeps_the_files_of_the_one_that_is_deleted(
    member: TestClient, sessions: Sessions, tmp_path: Path
) -> None:
    source = submit(member)
    train(sessions, tmp_path)
    answered = submit(member)
    assert member.get(f"/api/v1/jobs/{answered}").json()["reused_from"] == source
    storage, shared = FolderStorage(tmp_path), tmp_path / f"jobs/{source}/attempt-1/best.pt"
    write_file(tmp_path / f"jobs/{source}/attempt-1/nobodys.pt", b"x")

    assert member.delete(f"/api/v1/jobs/{source}").status_code == 204
    delete_left(sessions, storage)
    delete_orphans(sessions, storage, minimum_age_seconds=-60)

    assert [path for path in tmp_path.rglob("*") if path.is_file()] == [shared]
    left = member.get(f"/api/v1/jobs/{answered}").json()
    assert (left["status"], left["reused_from"]) == ("succeeded", source)
    assert member.get(f"/api/v1/jobs/{answered}/epochs").json()["items"]
    # It answers nobody: what is equal is trained again.
    assert member.get(f"/api/v1/jobs/{submit(member)}").json()["status"] == "queued"

    assert member.delete(f"/api/v1/jobs/{answered}").status_code == 204
    delete_left(sessions, storage)
    assert not shared.exists()


def test_who_deletes_jobs_gets_no_turn_back(member: TestClient, sessions: Sessions) -> None:
    job = submit(member)
    train(sessions)
    with sessions.begin() as session:
        session.execute(text("UPDATE attempts SET started_at = started_at - interval '100 s'"))
        usage.rebuild(session)
    member.delete(f"/api/v1/jobs/{job}")
    with sessions.begin() as session:
        assert maintenance.check_usage(session) < maintenance.USAGE_TOLERANCE
        usage.rebuild(session)
    [row] = member.get("/api/v1/usage").json()["items"]
    assert row["seconds"] == pytest.approx(100, rel=0.05)


def test_a_dataset_is_deleted_once_nothing_was_trained_on_it(
    admin: TestClient, member: TestClient, sessions: Sessions, tmp_path: Path
) -> None:
    with sessions.begin() as session:
        dataset = make_dataset(session, "cats")
        folder = tmp_path / "datasets" / dataset.info["digest"] if dataset.info else tmp_path
    write_file(folder / "x.npy", b"x")
    job = submit(admin, dataset={"name": "cats"})
    admin.post(f"/api/v1/jobs/{job}/cancel")
    assert f"job {job} used cats" in admin.delete("/api/v1/datasets/cats").json()["detail"]
    admin.delete(f"/api/v1/jobs/{job}")
    assert member.delete("/api/v1/datasets/cats").status_code == 403

    assert admin.delete("/api/v1/datasets/cats").status_code == 204

    assert admin.get("/api/v1/datasets/cats").status_code == 404
    assert admin.delete("/api/v1/datasets/cats").status_code == 204
    assert member.delete("/api/v1/datasets/cats").status_code == 404
    delete_left(sessions, FolderStorage(tmp_path))
    assert not folder.exists()
    assert admin.delete("/api/v1/datasets/digits").status_code == 409


def test_content_that_another_dataset_has_stays(
    admin: TestClient, sessions: Sessions, tmp_path: Path
) -> None:
    with sessions.begin() as session:
        info = make_dataset(session, "cats").info
        make_dataset(session, "same-cats")
    assert info is not None
    path = tmp_path / "datasets" / info["digest"] / "x.npy"
    write_file(path, b"x")
    assert admin.delete("/api/v1/datasets/cats").status_code == 204
    delete_left(sessions, FolderStorage(tmp_path))
    assert path.exists()


def test_a_project_goes_with_all_that_is_in_it(
    member: TestClient, admin: TestClient, sign_in: Clients, sessions: Sessions
) -> None:
    study = member.post("/api/v1/studies", json={**STUDY, "project": "shelf"}).json()["id"]
    job = submit(member, project="shelf")
    theirs = submit(sign_in("eve:member"), project="shelf")
    member.post(f"/api/v1/studies/{study}/cancel")
    assert "eve" in member.delete("/api/v1/projects/shelf").json()["detail"]
    assert admin.delete("/api/v1/projects/shelf").status_code == 409
    for one in (job, theirs):
        admin.post(f"/api/v1/jobs/{one}/cancel")

    assert admin.delete("/api/v1/projects/shelf").status_code == 204

    assert member.get("/api/v1/jobs").json()["items"] == []
    assert member.get("/api/v1/studies").json()["items"] == []
    assert admin.delete("/api/v1/projects/shelf").status_code == 204
    assert submit(member, project="shelf") > theirs


def test_what_others_submit_to_a_project_that_is_being_deleted_stays(
    member: TestClient, admin: TestClient, sign_in: Clients, sessions: Sessions
) -> None:
    mine = submit(member, project="shelf")
    theirs = submit(sign_in("eve:member"), project="shelf")
    for one in (mine, theirs):
        admin.post(f"/api/v1/jobs/{one}/cancel")
    with sessions.begin() as session:
        project = projects.find(session, "shelf")
        assert project is not None
        assert deleting.delete_some_jobs(session, project, project.owner_id) == 1
        assert deleting.studies_of(session, project, project.owner_id) == []
    with pytest.raises(InUse, match="submitted to project shelf"), sessions.begin() as session:
        deleting.delete_project(session, project)
    assert admin.get(f"/api/v1/jobs/{theirs}").status_code == 200


def test_of_two_deletions_at_the_same_time_the_later_one_says_so(sessions: Sessions) -> None:
    with sessions.begin() as session:
        for delete in (deleting.delete_job, deleting.delete_study):
            with pytest.raises(NotFound, match="7 has just been deleted"):
                delete(session, 7)


def test_a_job_that_is_being_deleted_answers_nothing_and_holds_nobody_up(
    member: TestClient, sessions: Sessions
) -> None:
    job = submit(member)
    train(sessions)
    with sessions.begin() as deletion:
        deleting.delete_job(deletion, job)
        with sessions.begin() as session:
            assert not answers.keep_sources(session, [job])


def test_what_names_a_project_while_it_is_deleted_gets_a_new_one(
    member: TestClient, admin: TestClient, sessions: Sessions
) -> None:
    admin.post(f"/api/v1/jobs/{submit(member, project='shelf')}/cancel")
    with ThreadPoolExecutor() as pool, sessions.begin() as session:
        old = projects.find(session, "shelf")
        assert old is not None
        deleting.delete_some_jobs(session, old)
        deleting.delete_project(session, old)
        later = pool.submit(submit, member, project="shelf")
        with pytest.raises(TimeoutError):
            later.result(0.5)
        session.commit()
        assert member.get(f"/api/v1/jobs/{later.result(60)}").status_code == 200
    with sessions.begin() as session:
        new = projects.find(session, "shelf")
        assert new is not None
        assert new.id != old.id
