"""Jobs over REST: submitted in JSON or YAML, found again, steered, repeated safely, never lost to Redis."""

import signal
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import redis as redis_client
from fastapi import FastAPI
from fastapi.testclient import TestClient
from sqlalchemy.orm import Session, sessionmaker

from api.settings import Settings
from normlab.stack.servers import Redis
from runtime.files import digest_of
from store.hosts import host_health
from store.jobs import commands, wakeups
from store.jobs.wakeups import Waker
from tests.support.documents import JOB, STUDY, changed, job
from tests.support.factories import acquire_job, make_worker
from tests.support.object_store import object_store
from tests.support.trained_study import train_all
from tests.support.waiting import free_port, wait_for
from trainer.events import Diagnosed

YAML = """
# a comment
dataset: {name: digits}
model: {name: cnn, width: 8}
norm: {kind: group, groups: 4}
regularization: [{kind: weight_decay, value: 5e-4}]
resources: {timeout: 1h, priority: high}
"""


def submit(client: TestClient, document: Any = None, **headers: str) -> dict[str, Any]:
    answer = client.post("/api/v1/jobs", json=document or JOB, headers=headers)
    assert answer.status_code == 202, answer.text
    found: dict[str, Any] = answer.json()
    return found


def test_a_submitted_job_is_there_with_all_that_was_said(member: TestClient) -> None:
    made = submit(member, job(seed=7))
    read = member.get(f"/api/v1/jobs/{made['id']}").json()
    assert read.pop("waiting")["reason"] == "no_worker"
    assert made.pop("waiting") is None
    assert read == {**made, "obstacle": "no worker is running"}
    assert made["status"] == "queued"
    assert (made["owner"], made["project"], made["seed"]) == ("max", "digits", 7)
    assert made["spec"]["training"]["batch_size"] == 64
    assert made["name"] == "cnn · group | seed 7"


@pytest.mark.parametrize(
    "content_type",
    ["application/yaml", "application/x-yaml", "text/yaml", "Application/YAML; charset=utf-8"],
)
def test_yaml_says_the_same_as_json(member: TestClient, content_type: str) -> None:
    answer = member.post("/api/v1/jobs", content=YAML, headers={"Content-Type": content_type})
    assert answer.status_code == 202, answer.text
    spec = answer.json()["spec"]
    assert spec["regularization"][0]["value"] == 5e-4
    assert spec["resources"]["timeout"] == 3600.0
    assert answer.json()["priority"] == "high"


def test_json_needs_no_content_type(member: TestClient) -> None:
    body = b'{"dataset":{"name":"digits"},"model":{"name":"cnn"},"norm":{"kind":"none"}}'
    assert member.post("/api/v1/jobs", content=body).status_code == 202


def test_what_was_built_is_kept_beside_the_warnings(member: TestClient) -> None:
    # A comparison of norms, or of dropout, has to know what else is in the model.
    own = job(
        model={"name": "torchvision:mobilenet_v3_small"},
        norm={"kind": "layer", "eps": 1e-5},
        dataset__image_size=32,
    )
    made = member.post("/api/v1/jobs", json=own).json()
    assert any("dropout layers: classifier.2 (p=0.2)" in told for told in made["warnings"])
    assert any("own BatchNorm2d has eps 0.001" in told for told in made["warnings"])
    assert member.post("/api/v1/plans", json=own).json()["warnings"]


def test_warnings_are_told_and_kept(member: TestClient) -> None:
    dropout = [{"kind": "dropout", "p": 0.2}]
    clashing = job(norm={"kind": "batch"}, regularization=dropout)
    made = submit(member, clashing)
    assert any("dropout before batch norm" in warning for warning in made["warnings"])
    assert member.post("/api/v1/plans", json=clashing).json()["warnings"] == made["warnings"]
    assert member.get(f"/api/v1/jobs/{made['id']}").json()["warnings"] == made["warnings"]


def test_jobs_are_listed_newest_first_by_pages_and_filters(
    member: TestClient, admin: TestClient
) -> None:
    ids = [submit(member, job(seed=seed))["id"] for seed in range(5)]
    other = submit(admin, job(project="other"))["id"]
    found: list[int] = []
    parameters: dict[str, Any] = {"limit": 2}
    while True:
        page = member.get("/api/v1/jobs", params=parameters).json()
        found += [item["id"] for item in page["items"]]
        if page["next_cursor"] is None:
            break
        parameters["cursor"] = page["next_cursor"]
    assert found == [other, *reversed(ids)]

    def listed(**filters: Any) -> list[int]:
        return [one["id"] for one in member.get("/api/v1/jobs", params=filters).json()["items"]]

    assert listed(owner="ada") == listed(project="other") == [other]
    assert listed(status="running") == listed(variant="x") == listed(study=1) == []
    assert len(listed(status="queued")) == 6


@pytest.mark.parametrize(
    ("parameters", "name", "detail"),
    [
        ({"limit": 0}, "limit", 'must be at least 1, but got "0"'),
        ({"limit": "many"}, "limit", 'must be an integer, but got "many"'),
        ({"cursor": "made up"}, "cursor", ""),
        ({"cursor": "aWQ6LTE"}, "cursor", ""),
        ({"status": "succeded"}, "status", "did you mean 'succeeded'?"),
        ({"study": "x"}, "study", 'must be an integer, but got "x"'),
        ({"study": 2**70}, "study", "must be at most 9223372036854775807"),
    ],
)
def test_a_bad_parameter_is_named(
    member: TestClient, parameters: dict[str, Any], name: str, detail: str
) -> None:
    answer = member.get("/api/v1/jobs", params=parameters)
    assert answer.status_code == 422
    [error] = answer.json()["errors"]
    assert error["parameter"] == name
    assert detail in error["detail"]


def test_a_nul_in_a_parameter_is_no_accident(member: TestClient) -> None:
    answer = member.get("/api/v1/jobs", params={"project": "a\0b"})
    assert answer.status_code == 422


@pytest.mark.parametrize(
    "path", ["/jobs/99", "/jobs/99/epochs", "/jobs/99/logs", "/jobs/99/files/x", "/nothing"]
)
def test_what_is_not_there_is_404(member: TestClient, path: str) -> None:
    answer = member.get(f"/api/v1{path}")
    assert answer.status_code == 404
    assert answer.headers["content-type"] == "application/problem+json"


def test_a_wrong_method_is_405_and_says_which_are_right(member: TestClient) -> None:
    answer = member.put("/api/v1/jobs/1", json={})
    assert answer.status_code == 405
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.headers["Allow"] == "DELETE, GET, PATCH"


def test_a_job_is_paused_resumed_cancelled_and_retried(member: TestClient) -> None:
    path = f"/api/v1/jobs/{submit(member)['id']}"

    def status_after(verb: str) -> str:
        answer = member.post(f"{path}/{verb}")
        assert answer.status_code == 200, answer.text
        found: str = answer.json()["status"]
        return found

    assert status_after("pause") == "paused"
    assert status_after("resume") == "queued"
    assert status_after("cancel") == "cancelled"
    assert member.post(f"{path}/cancel").status_code == 409
    assert member.post(f"{path}/pause").status_code == 409
    assert status_after("retry") == "queued"
    assert member.post(f"{path}/resume").status_code == 409
    steps = member.get(f"{path}/transitions").json()["items"]
    assert [step["to_status"] for step in steps] == [
        "queued", "paused", "queued", "cancelled", "queued",
    ]  # fmt: skip
    assert {step["who"] for step in steps} == {"max"}


def test_a_running_job_is_asked(member: TestClient, sessions: sessionmaker[Session]) -> None:
    path = f"/api/v1/jobs/{submit(member)['id']}"
    with sessions.begin() as session:
        make_worker(session)
        acquire_job(session)
    asked = member.post(f"{path}/pause").json()
    assert (asked["status"], asked["requested_action"]) == ("running", "pause")
    assert member.post(f"{path}/resume").json()["requested_action"] is None


def test_the_former_name_of_the_requested_action_is_still_answered(
    member: TestClient, sessions: sessionmaker[Session]
) -> None:
    path = f"/api/v1/jobs/{submit(member)['id']}"
    with sessions.begin() as session:
        make_worker(session)
        acquire_job(session)
    assert member.post(f"{path}/cancel").json()["wish"] == "cancel"
    views = member.get("/openapi.json").json()["components"]["schemas"]
    assert views["JobView"]["properties"]["wish"]["deprecated"] is True


def test_the_same_key_and_document_make_one_job(member: TestClient) -> None:
    first = member.post("/api/v1/jobs", json=JOB, headers={"Idempotency-Key": "k"})
    again = member.post("/api/v1/jobs", json=JOB, headers={"Idempotency-Key": "k"})
    assert first.json() == again.json()
    assert again.status_code == 202
    assert again.headers["Idempotent-Replayed"] == "true"
    assert len(member.get("/api/v1/jobs").json()["items"]) == 1


def test_the_same_key_for_another_document_is_refused(member: TestClient) -> None:
    submit(member, **{"Idempotency-Key": "k"})
    for path, other in (("jobs", job(seed=1)), ("studies", STUDY)):
        answer = member.post(f"/api/v1/{path}", json=other, headers={"Idempotency-Key": "k"})
        assert answer.status_code == 422
        assert answer.json()["errors"][0]["parameter"] == "Idempotency-Key"


def test_a_key_belongs_to_one_person(member: TestClient, admin: TestClient) -> None:
    mine = submit(member, **{"Idempotency-Key": "k"})
    theirs = submit(admin, **{"Idempotency-Key": "k"})
    assert mine["id"] != theirs["id"]


def test_a_refused_document_leaves_its_key_free(member: TestClient) -> None:
    headers = {"Idempotency-Key": "k"}
    bad = member.post("/api/v1/jobs", json=job(norm__groups=5), headers=headers)
    assert bad.status_code == 422
    assert member.post("/api/v1/jobs", json=JOB, headers=headers).status_code == 202


def test_two_at_once_with_one_key_make_one_job(member: TestClient, app: FastAPI) -> None:
    answers: list[Any] = []

    def send() -> None:
        client = TestClient(app, headers=member.headers)
        answers.append(client.post("/api/v1/jobs", json=JOB, headers={"Idempotency-Key": "k"}))

    threads = [threading.Thread(target=send) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert {answer.status_code for answer in answers} == {202}
    assert len({answer.json()["id"] for answer in answers}) == 1
    assert len(member.get("/api/v1/jobs").json()["items"]) == 1


@pytest.mark.parametrize("key", ["", "x" * 201])
def test_a_key_of_no_or_endless_length_is_refused(member: TestClient, key: str) -> None:
    answer = member.post("/api/v1/jobs", json=JOB, headers={"Idempotency-Key": key})
    assert answer.status_code == 422


def test_a_trained_job_shows_what_it_left(
    member: TestClient, sessions: sessionmaker[Session], storage: Path
) -> None:
    path = f"/api/v1/jobs/{submit(member)['id']}"
    train_all(sessions, storage)
    done = member.get(path).json()
    assert (done["status"], done["reason"]) == ("succeeded", "completed")
    assert done["metrics"]["test_loss"] == 0.25

    def items(what: str, **parameters: Any) -> list[Any]:
        found: list[Any] = member.get(f"{path}/{what}", params=parameters).json()["items"]
        return found

    assert [epoch["val_loss"] for epoch in items("epochs")] == [0.25, 0.25]
    assert [epoch["epoch"] for epoch in items("epochs", after=1)] == [2]
    assert [attempt["end"] for attempt in items("attempts")] == ["completed"]
    lines = items("logs")
    assert [line["text"] for line in lines] == ["epoch 1", "epoch 2"]
    assert items("logs", after=lines[0]["id"]) == lines[1:]
    page = member.get(f"{path}/logs", params={"limit": 1}).json()
    assert page["items"] == lines[:1]
    assert items("logs", cursor=page["next_cursor"]) == lines[1:]
    [file] = items("files")
    assert member.get(f"{path}/files/{file['name']}").content == b"numbers"
    [checkpoint] = items("checkpoints")
    weights = member.get(f"{path}/checkpoints/{checkpoint['id']}")
    assert weights.content == b"weights"
    assert member.get(f"{path}/checkpoints/9999").status_code == 404


def test_what_was_seen_inside_a_network_is_listed_with_its_drift(
    member: TestClient, sessions: sessionmaker[Session]
) -> None:
    number = submit(member)["id"]
    with sessions.begin() as session:
        make_worker(session)
        assert acquire_job(session) is not None
        for step, median in ((4, 0.5), (8, -1.0)):
            look = {"before_p50": median, "before_std": 0.5}
            layers = {"norm1": look, "network": {"loss_gap": float("nan")}}
            commands.record_diagnosis(session, number, 1, Diagnosed(step // 4, step, layers))
    path = f"/api/v1/jobs/{number}/diagnostics"
    page = member.get(path, params={"limit": 3}).json()
    rest = member.get(path, params={"limit": 3, "cursor": page["next_cursor"]}).json()
    items = [*page["items"], *rest["items"]]
    assert [(one["layer"], one["step"]) for one in items] == [
        ("norm1", 4), ("network", 4), ("norm1", 8), ("network", 8),
    ]  # fmt: skip
    assert rest["next_cursor"] is None
    assert items[0]["statistics"]["before_drift_training"] == 0
    assert items[2]["statistics"]["before_drift_training"] == 3
    assert items[3]["non_finite"] == {"loss_gap": "nan"}
    only = member.get(path, params={"layer": "network"}).json()["items"]
    assert [one["step"] for one in only] == [4, 8]
    assert member.get("/api/v1/jobs/999999999/diagnostics").status_code == 404


def test_a_row_that_points_out_of_the_storage_opens_nothing(
    member: TestClient, sessions: sessionmaker[Session], storage: Path
) -> None:
    path = f"/api/v1/jobs/{submit(member)['id']}"
    [number] = train_all(sessions, storage)
    file = storage / "jobs" / str(number) / "attempt-1" / "predictions.npy"
    for outside in ("/etc/passwd", str(storage.parent / "secret")):
        file.unlink()
        file.symlink_to(outside)
        assert member.get(f"{path}/files/predictions.npy").status_code == 404
    for name in ("../../../etc/passwd", "%2e%2e/%2e%2e/etc/passwd"):
        assert member.get(f"{path}/files/{name}").status_code == 404


def test_a_file_comes_from_an_object_store_and_one_that_is_away_is_said(
    member: TestClient,
    sessions: sessionmaker[Session],
    settings: Settings,
    replace: Callable[..., None],
    object_server: str,
    bucket: str,
    tmp_path: Path,
) -> None:
    there, here = (object_store(object_server, bucket, tmp_path / name) for name in "ab")
    path = f"/api/v1/jobs/{submit(member)['id']}/files/predictions.npy"
    [number] = train_all(sessions, there.root)
    there.put(f"jobs/{number}/attempt-1/predictions.npy", digest_of(b"numbers"))
    replace(settings=settings.model_copy(update={"storage": here}))
    assert member.get(path).content == b"numbers"
    away = object_store(f"http://127.0.0.1:{free_port()}", bucket, tmp_path / "c")
    replace(settings=settings.model_copy(update={"storage": away}))
    answer = member.get(path)
    assert (answer.status_code, answer.headers["Retry-After"]) == (503, "10")
    assert "the object store s3://" in answer.json()["detail"]


def test_a_diverged_job_answers_null_and_names_what_it_was(
    member: TestClient, sessions: sessionmaker[Session], storage: Path
) -> None:
    ids = [submit(member, job(seed=seed))["id"] for seed in range(3)]
    assert train_all(sessions, storage) == ids
    diverged = member.get(f"/api/v1/jobs/{ids[2]}").json()
    assert (diverged["status"], diverged["reason"]) == ("succeeded", "diverged")
    assert diverged["metrics"]["test_accuracy"] is None
    assert diverged["non_finite"]["test_accuracy"] == "nan"
    [first, _] = member.get(f"/api/v1/jobs/{ids[2]}/epochs").json()["items"]
    assert (first["train_loss"], first["non_finite"]["train_loss"]) == (None, "nan")
    assert (first["extra"]["gap"], first["non_finite"]["gap"]) == (None, "nan")
    rows = {row["job_id"]: row for row in member.get("/api/v1/results").json()["items"]}
    assert rows[ids[2]]["metrics"]["test_accuracy"] is None


@pytest.fixture
def broker(tmp_path: Path, replace: Callable[..., None], app: FastAPI) -> Iterator[Redis]:
    """A Redis of this test's own, and an API that wakes through it."""
    server = Redis(tmp_path / "redis")
    server.start()
    celery = wakeups.make_celery(server.url)
    waker = Waker(app.state.services.sessions, celery)
    replace(waker=waker)
    yield server
    waker.close()
    celery.close()
    server.stop()


def waiting(server: Redis) -> int:
    with redis_client.Redis(unix_socket_path=str(server.socket)) as client:
        return int(client.llen("normlab.alpha"))  # type: ignore[arg-type]


def test_a_free_worker_is_woken_once_per_slot(
    member: TestClient, sessions: sessionmaker[Session], broker: Redis
) -> None:
    with sessions.begin() as session:
        make_worker(session, cpu=1)
    submit(member)
    wait_for(lambda: waiting(broker) == 1)


def test_a_hanging_redis_holds_no_submission(
    member: TestClient, sessions: sessionmaker[Session], broker: Redis
) -> None:
    with sessions.begin() as session:
        make_worker(session, cpu=2)
    process = broker._process
    assert process is not None
    process.send_signal(signal.SIGSTOP)
    try:
        for _ in range(3):
            started = time.monotonic()
            submit(member)
            assert time.monotonic() - started < 30
        assert member.get("/readyz").status_code == 200
    finally:
        process.send_signal(signal.SIGCONT)
    assert len(member.get("/api/v1/jobs").json()["items"]) == 3
    submit(member)
    wait_for(lambda: waiting(broker) > 0)


def test_without_a_redis_jobs_are_accepted(
    member: TestClient, sessions: sessionmaker[Session], broker: Redis
) -> None:
    with sessions.begin() as session:
        make_worker(session)
    broker.stop()
    started = time.monotonic()
    submit(member)
    assert time.monotonic() - started < 30


def test_the_queue_shows_who_waits_and_who_runs(
    member: TestClient, sessions: sessionmaker[Session]
) -> None:
    first, second = submit(member)["id"], submit(member, changed(JOB, seed=1))["id"]
    with sessions.begin() as session:
        make_worker(session, cpu=2)
        acquire_job(session)
    queue = member.get("/api/v1/queue").json()
    assert [(one["id"], one["position"]) for one in queue["queued"]] == [(second, 1)]
    assert [one["id"] for one in queue["running"]] == [first]
    [worker] = member.get("/api/v1/workers").json()["items"]
    assert (worker["host"], worker["slots"], worker["busy"], worker["alive"]) == (
        "alpha", 2, 1, True,
    )  # fmt: skip
    assert (worker["claims"], worker["shortage"], worker["problems"]) == (True, None, [])
    [device] = member.get("/api/v1/devices").json()["items"]
    assert [held["job_id"] for held in device["held"]] == [first]


def test_a_host_without_room_is_named_on_itself_and_on_the_job_that_waits_for_it(
    member: TestClient, sessions: sessionmaker[Session]
) -> None:
    job = submit(member)["id"]
    detail = "/data has 3 MB free but 512 MB are needed"
    with sessions.begin() as session:
        make_worker(session)
        full = host_health.Shortage("/data", 3_000_000, 512_000_000, detail)
        host_health.report(session, "alpha", full, 61.0)
    [worker] = member.get("/api/v1/workers").json()["items"]
    assert (worker["alive"], worker["claims"], worker["clock_ahead_seconds"]) == (True, False, 61.0)
    assert worker["shortage"] == {
        "folder": "/data",
        "free_bytes": 3_000_000,
        "needed_bytes": 512_000_000,
        "detail": detail,
    }
    assert worker["problems"][0] == f"takes no jobs: {detail}"
    obstacle = member.get(f"/api/v1/jobs/{job}").json()["obstacle"]
    assert obstacle.startswith(f"alpha takes no jobs: {detail}")
