"""A private project: for whoever isn't listed in it, nothing of it exists; who is may do what their role says."""

import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient
from sqlalchemy import select
from sqlalchemy.orm import Session, sessionmaker

from api.settings import Settings
from store.access import hidden
from store.db import Mirrored, Project
from tests.api.test_access import routes
from tests.api.web.test_events import announce, following, read_event
from tests.support.documents import JOB, STUDY, study
from tests.support.factories import acquire_job, finish_training, make_worker
from tests.support.trained_study import train_all

Clients = Callable[[str], TestClient]
Sessions = sessionmaker[Session]

#: In every name, tag and note of what is private; nowhere else.
MARKER = "zebrafish"
PROJECT = f"{MARKER}-shelf"
#: What an admin reads of them, or what must be there first: nothing that a stranger may ask for.
PAGES = (
    "/", "/studies", "/studies?query=seed=0", "/results", "/results?by=project,study,variant", "/results?columns=project",
    "/compare?by=variant", "/presets", "/presets/lrn", "/datasets", "/datasets/digits", "/admin", "/submit",
    "/projects", "/webhooks",
)  # fmt: skip
QUERIES = (
    "/results?columns=project,study,name,tag,variant", "/results/groups?by=project", "/results/groups?by=variant",
    "/results/export?format=jsonl", "/results/export?columns=project,name", "/results/comparison?by=variant",
    f"/results?query=project={PROJECT}", f"/leaderboard?project={PROJECT}", f"/jobs?project={PROJECT}",
    f"/studies?project={PROJECT}", f"/studies?query=project={PROJECT}", f"/jobs?tag={MARKER}",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Shelf:
    """What max has in his private project: a trained study, a job of it, and a job that runs and one that waits."""

    study: int
    job: int
    checkpoint: int
    running: int
    queued: int

    def fill_in(self, path: str) -> list[str]:
        """The address with all that it could be meant of here."""
        path = path.replace("{study_id}", str(self.study)).replace("{role}", "viewer")
        path = path.replace("{checkpoint_id}", str(self.checkpoint)).replace("{format}", "svg")
        names = {"/jobs/{job_id}/files": "predictions.npy", "/projects": PROJECT}
        name = next((one for start, one in names.items() if start in path), "lrn")
        path = re.sub(r"{name(?::path)?}", name, path).replace("{person}", "max")
        path = path.replace("{webhook_id}", "1").replace("{token_id}", "1")
        if "{job_id}" not in path:
            return [path]
        jobs = (self.job, self.running, self.queued)
        return [path.replace("{job_id}", str(job)) for job in jobs]


@pytest.fixture
def shelf(member: TestClient, sessions: Sessions, storage: Path) -> Shelf:
    made = member.post("/api/v1/projects", json={"name": PROJECT, "visibility": "private"})
    assert made.status_code == 201, made.text
    variants = {"none": {"norm": {"kind": "none"}}, MARKER: {"norm": {"kind": "layer"}}}
    document = study(project=PROJECT, name=f"{MARKER} study", variants=variants)
    number = member.post("/api/v1/studies", json=document).json()["id"]
    jobs = train_all(sessions, storage)
    annotation = {"tags": [MARKER], "note": MARKER}
    for path in (f"studies/{number}", f"jobs/{jobs[0]}"):
        assert member.patch(f"/api/v1/{path}", json=annotation).status_code == 200
    more = member.post(f"/api/v1/studies/{number}/extend?fresh=true", json={"seeds": [7]})
    assert more.status_code == 202, more.text
    with sessions.begin() as session:
        claimed = acquire_job(session)
        assert claimed is not None
        mirrored = {"run_id": "a" * 32, "experiment_id": "77", "study_id": number}
        session.add(Mirrored(**mirrored))
    [saved, *_] = member.get(f"/api/v1/jobs/{jobs[0]}/checkpoints").json()["items"]
    [waiting] = member.get(f"/api/v1/studies/{number}/jobs?status=queued").json()["items"]
    return Shelf(number, jobs[0], saved["id"], claimed.job_id, waiting["id"])


def test_no_answer_to_a_stranger_has_anything_of_it(
    app: FastAPI, shelf: Shelf, member: TestClient, sign_in: Clients
) -> None:
    stranger = sign_in("eve:member")
    seen = set()
    own = f"/studies/{shelf.study}", f"/jobs/{shelf.job}", f"/submit?study={shelf.study}"
    addresses = [f"/api/v1{query}" for query in QUERIES] + [*PAGES, *own]
    addresses += [
        one for method, path in routes(app) if method == "GET" for one in shelf.fill_in(path)
    ]
    for address in addresses:
        answer = stranger.get(address)
        # A refusal says what was asked for.
        said = answer.text.replace(PROJECT, "") if answer.status_code == 404 else answer.text
        assert MARKER not in said, address
        assert "a" * 32 not in answer.text, address
        assert answer.status_code != 500, address
        is_of_it = re.search(rf"/(?:studies|jobs)/\d|study=\d|/projects/{MARKER}", address)
        assert not is_of_it or answer.status_code == 404, (address, answer.text)
        if MARKER in member.get(address).text:
            seen.add(address)
    # What would have shown it, else this would prove nothing.
    assert {f"/api/v1{path}" for path in (*QUERIES, "/queue", "/jobs", "/projects")} <= seen
    assert {*own, "/studies", "/results", "/", f"/api/v1/studies/{shelf.study}/report"} <= seen


def test_a_drawing_is_shown_to_whoever_may_read_what_it_is_of(
    shelf: Shelf, member: TestClient, viewer: TestClient, storage: Path
) -> None:
    picture = f"/api/v1/studies/{shelf.study}/curves?format=svg"
    assert member.get(picture).status_code == 200
    [kept] = (storage / "studies" / str(shelf.study)).glob("curves-*.svg")
    address = f"/api/v1/drawings/s{shelf.study}.{kept.name}"
    assert member.get(address).status_code == 200
    assert viewer.get(address).status_code == 404


def test_in_the_queue_its_jobs_are_somebody_s_and_nothing_else(
    shelf: Shelf, member: TestClient, viewer: TestClient
) -> None:
    found = viewer.get("/api/v1/queue").json()
    for one in (*found["queued"], *found["running"]):
        assert (one["id"], one["name"], one["study"]) == (None, "a private job of max", None)
    assert [len(found[state]) for state in ("queued", "running")] == [1, 1]
    assert [one["id"] for one in member.get("/api/v1/queue").json()["queued"]] == [shelf.queued]
    [device] = viewer.get("/api/v1/devices").json()["items"]
    assert [held["job_name"] for held in device["held"]] == ["a private job of max"]
    assert "a private job" in viewer.get("/").text


#: By role in the project: whether that person may read, submit, cancel their own, cancel another's, and invite.
ROLES = {
    None: (False, False, False, False, False),
    "viewer": (True, False, False, False, False),
    "member": (True, True, True, False, False),
    "admin": (True, True, True, True, True),
}


@pytest.mark.parametrize("role", ROLES)
def test_each_role_in_a_project_may_do_what_the_table_says(
    member: TestClient, sign_in: Clients, role: str | None
) -> None:
    member.post("/api/v1/projects", json={"name": PROJECT, "visibility": "private"})
    eve = sign_in("eve:member")
    member.put(f"/api/v1/projects/{PROJECT}/members/eve", json={"role": "member"})
    document = JOB | {"project": PROJECT}
    [own, other] = (
        client.post("/api/v1/jobs", json=document).json()["id"] for client in (eve, member)
    )
    address = f"/api/v1/projects/{PROJECT}/members/eve"
    if role is None:
        assert member.delete(address).status_code == 204
    else:
        assert member.put(address, json={"role": role}).status_code == 200
    invited = eve.put(f"/api/v1/projects/{PROJECT}/members/max", json={"role": "viewer"})
    answers = (
        eve.get(f"/api/v1/jobs/{other}"),
        eve.post("/api/v1/jobs", json=document | {"seed": 3}),
        eve.post(f"/api/v1/jobs/{own}/cancel"),
        eve.post(f"/api/v1/jobs/{other}/cancel"),
        invited,
    )
    assert tuple(one.is_success for one in answers) == ROLES[role]
    refusals = {one.status_code for one in answers if not one.is_success}
    assert refusals <= ({403, 404} if role is None else {403})


def test_a_viewer_of_the_service_writes_nothing_whatever_the_project_says(
    member: TestClient, viewer: TestClient
) -> None:
    member.post("/api/v1/projects", json={"name": PROJECT, "visibility": "private"})
    member.put(f"/api/v1/projects/{PROJECT}/members/vera", json={"role": "admin"})
    assert viewer.get(f"/api/v1/projects/{PROJECT}").json()["role"] == "admin"
    assert viewer.post("/api/v1/jobs", json=JOB | {"project": PROJECT}).status_code == 403
    change = viewer.patch(f"/api/v1/projects/{PROJECT}", json={"visibility": "open"})
    assert change.status_code == 403


def test_an_admin_of_the_service_does_everything(shelf: Shelf, admin: TestClient) -> None:
    assert admin.get(f"/api/v1/jobs/{shelf.queued}").json()["project"] == PROJECT
    assert admin.post(f"/api/v1/jobs/{shelf.queued}/cancel").json()["status"] == "cancelled"
    change = admin.patch(f"/api/v1/projects/{PROJECT}", json={"visibility": "open"})
    assert change.json()["visibility"] == "open"
    done = [row["action"] for row in admin.get("/api/v1/audit").json()["items"]]
    assert done[0] == "project.changed"
    assert "project.created" in done


def test_a_stranger_can_t_submit_to_it_by_its_name(
    member: TestClient, sign_in: Clients, sessions: Sessions
) -> None:
    member.post("/api/v1/projects", json={"name": PROJECT, "visibility": "private"})
    eve = sign_in("eve:member")
    for path, document in (("jobs", JOB), ("studies", STUDY)):
        refused = eve.post(f"/api/v1/{path}", json=document | {"project": PROJECT})
        assert refused.status_code == 403
        assert "choose another name" in refused.json()["detail"]
    taken = eve.post("/api/v1/projects", json={"name": PROJECT})
    assert taken.status_code == 409
    assert member.get(f"/api/v1/jobs?project={PROJECT}").json()["items"] == []


def test_who_has_jobs_in_a_project_that_becomes_private_is_a_member_of_it(
    member: TestClient, admin: TestClient, sign_in: Clients
) -> None:
    member.post("/api/v1/jobs", json=JOB)
    eve, bob = sign_in("eve:member"), sign_in("bob:member")
    job = eve.post("/api/v1/jobs", json=JOB).json()["id"]
    assert eve.patch("/api/v1/projects/digits", json={"visibility": "private"}).status_code == 403
    refused = member.patch("/api/v1/projects/digits", json={"visibility": "private"})
    assert refused.status_code == 403
    assert "of eve: only an admin of the service can make it private" in refused.json()["detail"]
    change = admin.patch("/api/v1/projects/digits", json={"visibility": "private"})
    listed = [(one["user"], one["role"]) for one in change.json()["members"]]
    assert listed == [("eve", "member"), ("max", "admin")]
    assert eve.post(f"/api/v1/jobs/{job}/cancel").is_success
    assert bob.get(f"/api/v1/jobs/{job}").status_code == 404


def test_a_private_project_keeps_an_admin(member: TestClient, sign_in: Clients) -> None:
    member.post("/api/v1/projects", json={"name": PROJECT, "visibility": "private"})
    sign_in("eve:member")
    people = f"/api/v1/projects/{PROJECT}/members"
    for answer in (
        member.delete(f"{people}/max"),
        member.put(f"{people}/max", json={"role": "viewer"}),
    ):
        assert answer.status_code == 409
        assert "make somebody else an admin of it first" in answer.json()["detail"]
    member.put(f"{people}/eve", json={"role": "admin"})
    assert member.delete(f"{people}/max").status_code == 204


@pytest.mark.parametrize("change", [{"disabled": True}, {"role": "viewer"}])
def test_a_private_project_that_loses_its_last_admin_is_named_and_can_get_another(
    member: TestClient, admin: TestClient, sign_in: Clients, change: dict[str, Any]
) -> None:
    member.post("/api/v1/projects", json={"name": PROJECT, "visibility": "private"})
    member.post("/api/v1/projects", json={"name": "open-shelf"})
    member.post("/api/v1/projects", json={"name": "shared", "visibility": "private"})
    eve = sign_in("eve:member")
    member.put("/api/v1/projects/shared/members/eve", json={"role": "admin"})
    member.put(f"/api/v1/projects/{PROJECT}/members/eve", json={"role": "member"})
    assert admin.patch("/api/v1/users/max", json={"weight": 2.0}).json()["unmanaged_projects"] == []
    assert "an active admin" not in admin.get("/admin").text

    assert admin.patch("/api/v1/users/max", json=change).json()["unmanaged_projects"] == [PROJECT]

    for page in ("/admin", f"/projects/{PROJECT}"):
        assert "an active admin" in admin.get(page).text.lower()
    people = f"/api/v1/projects/{PROJECT}/members"
    assert eve.put(f"{people}/eve", json={"role": "admin"}).status_code == 403
    assert admin.put(f"{people}/eve", json={"role": "admin"}).status_code == 200
    assert "an active admin" not in admin.get("/admin").text
    assert eve.delete(f"{people}/max").status_code == 204


def test_its_jobs_answer_none_of_somebody_who_may_not_read_them(
    member: TestClient, sign_in: Clients, sessions: Sessions
) -> None:
    member.post("/api/v1/projects", json={"name": PROJECT, "visibility": "private"})
    source = member.post("/api/v1/jobs", json=JOB | {"project": PROJECT}).json()["id"]
    with sessions.begin() as session:
        make_worker(session)
        claimed = acquire_job(session)
        assert claimed is not None
        finish_training(session, claimed)
    eve = sign_in("eve:member")
    assert eve.post("/api/v1/plans", json=JOB).json()["bill"]["reused"] == 0
    assert eve.post("/api/v1/jobs", json=JOB).json()["reused_from"] is None
    assert member.post("/api/v1/jobs", json=JOB).json()["reused_from"] == source
    member.put(f"/api/v1/projects/{PROJECT}/members/eve", json={"role": "viewer"})
    assert eve.post("/api/v1/jobs", json=JOB).json()["reused_from"] == source


def test_a_claim_doesn_t_wait_for_a_job_that_its_owner_may_not_read(
    member: TestClient, sign_in: Clients, sessions: Sessions
) -> None:
    member.post("/api/v1/projects", json={"name": PROJECT, "visibility": "private"})
    member.post("/api/v1/jobs", json=JOB | {"project": PROJECT})
    with sessions.begin() as session:
        make_worker(session, cpu=2)
        assert acquire_job(session) is not None
    own = sign_in("eve:member").post("/api/v1/jobs", json=JOB).json()["id"]
    with sessions.begin() as session:
        claimed = acquire_job(session)
        assert claimed is not None
        assert claimed.job_id == own


def test_a_request_before_its_login_reads_nothing_private(app: FastAPI, shelf: Shelf) -> None:
    with app.state.services.sessions.begin() as session:
        assert session.scalars(select(Project)).all() == []
    with app.state.services.sessions.begin() as session, hidden.everything(session):
        [project] = session.scalars(select(Project))
        assert session.get(Project, project.id) is project


def test_where_nothing_is_hidden_from_the_reader_statements_stay_as_they_are(
    member: TestClient, shelf: Shelf, monkeypatch: pytest.MonkeyPatch, settings: Settings
) -> None:
    def fail(*_: Any) -> Any:
        raise AssertionError("a filter for somebody from whom nothing is hidden")

    monkeypatch.setattr(hidden, "_options", fail)
    assert member.get("/api/v1/jobs").is_success
    assert member.get(f"/studies/{shelf.study}").status_code == 200


def test_a_page_hears_of_the_jobs_that_its_reader_may_read_only(
    app: FastAPI, shelf: Shelf, sign_in: Clients, address: str, sessions: Sessions
) -> None:
    eve, changes = sign_in("eve:member"), app.state.services.changes
    own = eve.post("/api/v1/jobs", json=JOB).json()["id"]
    mark = changes.mark
    announce(sessions, changes, shelf.queued, own)
    token = eve.headers["Authorization"].removeprefix("Bearer ")
    with following(address, token, since=mark) as lines:
        assert read_event(lines)[1] == [own]


def test_a_project_s_page_offers_its_admins_to_change_it(
    shelf: Shelf, member: TestClient, sign_in: Clients
) -> None:
    eve = sign_in("eve:member")
    page = member.get(f"/projects/{PROJECT}").text
    assert f'data-send="PATCH /api/v1/projects/{PROJECT}"' in page
    assert "<option>eve</option>" in page
    member.put(f"/api/v1/projects/{PROJECT}/members/eve", json={"role": "viewer"})
    assert "data-send" not in eve.get(f"/projects/{PROJECT}").text.partition("<main")[2]
    marked = f'<a href="/projects/{PROJECT}">{PROJECT}</a> (private)'
    for path in ("/studies", f"/studies/{shelf.study}", f"/jobs/{shelf.job}"):
        assert marked in eve.get(path).text
