"""Datasets over REST: registered for a worker to decode, listed, named once."""

import io
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient
from PIL import Image
from sqlalchemy.orm import Session, sessionmaker

from api.processes.spec_checker import Checker
from api.routes import datasets as routes
from store.catalog import datasets
from tests.support.documents import job, study
from tests.support.factories import make_dataset, make_info
from tests.support.trained_study import train_all
from trainer.spec.builtin import BUILT_IN


@pytest.fixture
def flowers(data_root: Path) -> dict[str, Any]:
    return {
        "name": "flowers",
        "source": {"kind": "image_folder", "path": str(data_root / "flowers")},
    }


def test_what_is_built_in_is_there(viewer: TestClient) -> None:
    items = viewer.get("/api/v1/datasets").json()["items"]
    assert {one["name"] for one in items} == set(BUILT_IN)
    digits = next(one for one in items if one["name"] == "digits")
    assert digits == viewer.get("/api/v1/datasets/digits").json()
    assert (digits["status"], digits["info"]["shape"], digits["job_id"]) == (
        "ready",
        [1, 8, 8],
        None,
    )


def test_a_registered_dataset_is_decoded_by_a_job_and_then_usable(
    member: TestClient, sessions: sessionmaker[Session], storage: Path, flowers: dict[str, Any]
) -> None:
    answer = member.post("/api/v1/datasets", json=flowers)
    assert answer.status_code == 202
    made = answer.json()
    assert (made["status"], made["owner"], made["info"]) == ("registering", "max", None)
    decoding = member.get(f"/api/v1/jobs/{made['job_id']}").json()
    assert (decoding["kind"], decoding["status"]) == ("dataset", "queued")
    assert member.get("/api/v1/jobs").json()["items"] == []

    train_all(sessions, storage)

    assert member.get("/api/v1/datasets/flowers").json()["status"] == "ready"
    small = job(dataset__name="flowers", training__batch_size=16)
    assert member.post("/api/v1/jobs", json=small).status_code == 202


def test_a_set_with_a_class_of_one_image_is_refused_before_anything_trains(
    member: TestClient, sessions: sessionmaker[Session]
) -> None:
    with sessions.begin() as session:
        dataset = make_dataset(session, "cats", ready=False)
        info = make_info("cats").model_copy(update={"class_counts": (99, 1)})
        datasets.mark_ready(session, dataset.id, info)
    for route, document in (
        ("jobs", job(dataset__name="cats")),
        ("plans", study(base__dataset__name="cats")),
    ):
        answer = member.post(f"/api/v1/{route}", json=document)
        assert answer.status_code == 422, answer.text
        [error] = answer.json()["errors"]
        assert error["pointer"].endswith("/dataset/name")
        assert "class 'dog' has 1; each class needs 3" in error["detail"]
        assert "leave the class out" in error["remedy"]


def test_a_name_is_given_once_but_the_same_request_may_be_repeated(
    member: TestClient, admin: TestClient, flowers: dict[str, Any]
) -> None:
    headers = {"Idempotency-Key": "k"}
    first = member.post("/api/v1/datasets", json=flowers, headers=headers)
    assert member.post("/api/v1/datasets", json=flowers, headers=headers).json() == first.json()
    taken = admin.post("/api/v1/datasets", json=flowers)
    assert taken.status_code == 409
    assert taken.json()["errors"][0]["pointer"] == "/name"


def test_a_dataset_that_could_not_be_decoded_says_why(
    member: TestClient, flowers: dict[str, Any]
) -> None:
    made = member.post("/api/v1/datasets", json=flowers).json()
    member.post(f"/api/v1/jobs/{made['job_id']}/cancel")
    found = member.get("/api/v1/datasets/flowers").json()
    assert (found["status"], found["error"]) == ("failed", "its registration was cancelled")
    answer = member.post("/api/v1/jobs", json=job(dataset__name="flowers"))
    assert answer.status_code == 422
    assert answer.json()["errors"][0]["pointer"] == "/dataset/name"
    assert member.post("/api/v1/datasets", json=flowers).status_code == 202


def test_an_unknown_dataset_is_404(viewer: TestClient) -> None:
    assert viewer.get("/api/v1/datasets/mnist").status_code == 404


def test_augmented_images_are_answered_as_a_picture(viewer: TestClient) -> None:
    path = "/api/v1/datasets/digits/preview"
    wanted = {"augmentation": [{"kind": "rotate", "degrees": 20.0}], "images": 2, "draws": 3}
    answer = viewer.post(path, json=wanted)
    assert answer.status_code == 200
    assert answer.headers["content-type"] == "image/png"
    assert answer.content.startswith(b"\x89PNG\r\n")
    assert viewer.post(path, json=wanted).content == answer.content
    assert viewer.post(path, json={**wanted, "seed": 1}).content != answer.content


@pytest.mark.parametrize(
    ("name", "wanted", "status", "pointer"),
    [
        ("digits", {"augmentation": [{"kind": "rotate"}]}, 422, "/augmentation/0/degrees"),
        ("digits", {"images": 17}, 422, "/images"),
        ("nothing", {}, 404, None),
        ("moons", {}, 409, None),
    ],
)
def test_a_picture_that_cannot_be_drawn_is_refused_with_the_field(
    viewer: TestClient, name: str, wanted: dict[str, Any], status: int, pointer: str | None
) -> None:
    answer = viewer.post(f"/api/v1/datasets/{name}/preview", json={"draws": 1, **wanted})
    assert answer.status_code == status
    errors = answer.json().get("errors") or [{"pointer": None}]
    assert errors[0]["pointer"] == pointer


@pytest.mark.parametrize(
    ("wanted", "pointer", "says"),
    [
        (
            {"images": 16, "draws": 15, "image_size": 1024},
            "/image_size",
            "16 rows × 16 images of 1024 pixels exceed the size limit; use at most 176 pixels, or fewer images",
        ),
        ({"images": 8, "draws": 7, "image_size": 354}, "/image_size", "use at most 353 pixels"),
        ({"images": 16, "draws": 16}, "/images", "of 400 pixels exceed the size limit"),
    ],
)
def test_a_preview_that_is_too_large_is_refused_with_what_would_fit(
    viewer: TestClient,
    monkeypatch: pytest.MonkeyPatch,
    wanted: dict[str, Any],
    pointer: str,
    says: str,
) -> None:
    info = BUILT_IN["digits"].model_copy(update={"shape": (3, 300, 400)})
    monkeypatch.setattr(routes, "read_info", lambda *_: info)
    monkeypatch.setattr(Checker, "preview", lambda *_: b"a picture")
    path = "/api/v1/datasets/digits/preview"
    answer = viewer.post(path, json=wanted)
    assert answer.status_code == 422
    [error] = answer.json()["errors"]
    assert error["pointer"] == pointer
    assert says in error["detail"]
    assert viewer.post(path, json={**wanted, "images": 1, "draws": 1}).status_code == 200


def test_the_classes_are_answered_as_a_picture(viewer: TestClient) -> None:
    path = "/api/v1/datasets/digits/pictures"
    answer = viewer.get(path)
    assert (answer.status_code, answer.headers["content-type"]) == (200, "image/png")
    plain = viewer.get(path, params={"images": 2, "pixels": 16, "names": False}).content
    with Image.open(io.BytesIO(plain)) as image:
        assert image.size == (32, 160)


@pytest.mark.parametrize(
    ("path", "status", "says"),
    [
        ("nothing/pictures", 404, "no dataset named 'nothing'"),
        ("digit/pictures", 404, "no dataset named 'digit'; did you mean 'digits'"),
        ("moons/pictures", 409, "moons has vectors, of which there is no picture"),
        ("digits/pictures?images=17", 422, "images"),
        ("digits/pictures?images=16&pixels=256", 422, "use at most 223 pixels, or fewer images"),
    ],
)
def test_a_picture_of_classes_that_cannot_be_drawn_is_refused_in_words(
    viewer: TestClient, path: str, status: int, says: str
) -> None:
    answer = viewer.get(f"/api/v1/datasets/{path}")
    assert answer.status_code == status
    assert says in answer.text


def test_a_picture_of_a_dataset_that_is_not_ready_says_what_became_of_it(
    member: TestClient, flowers: dict[str, Any]
) -> None:
    made = member.post("/api/v1/datasets", json=flowers).json()
    path = "/api/v1/datasets/flowers/pictures"
    assert "'flowers' is still being registered" in member.get(path).json()["detail"]
    member.post(f"/api/v1/jobs/{made['job_id']}/cancel")
    answer = member.get(path)
    assert answer.status_code == 409
    assert "could not be registered: its registration was cancelled" in answer.json()["detail"]


def test_a_drawn_dataset_is_registered_like_any_other(member: TestClient) -> None:
    source = {"kind": "generated", "generator": "moons", "size": 200, "noise": 0.3}
    made = member.post("/api/v1/datasets", json={"name": "noisy", "source": source})
    assert made.status_code == 202
    assert made.json()["source"] == {**source, "seed": 0}
    unknown = {"name": "other", "source": {**source, "generator": "spirals"}}
    refused = member.post("/api/v1/datasets", json=unknown)
    assert refused.json()["errors"][0]["pointer"] == "/source/generator"


def test_a_task_that_does_not_fit_the_targets_is_refused(member: TestClient) -> None:
    regression = job(
        dataset={"name": "polynomial_noise"},
        model={"name": "polynomial", "degree": 3},
        norm={"kind": "none"},
        task={"kind": "regression"},
    )
    assert member.post("/api/v1/jobs", json=regression).status_code == 202
    refused = member.post("/api/v1/jobs", json={**regression, "task": {"kind": "classification"}})
    assert refused.json()["errors"][0]["pointer"] == "/task/kind"
