"""Learning curves over REST: as data, and as pictures that are drawn elsewhere and kept."""

from collections.abc import Callable
from pathlib import Path

import pytest
from fastapi.testclient import TestClient
from sqlalchemy.orm import Session, sessionmaker

from api.processes import RenderQueue
from tests.api.routes.test_reports import Counting
from tests.support.documents import study
from tests.support.trained_study import train_all


@pytest.fixture
def trained(member: TestClient, sessions: sessionmaker[Session], storage: Path) -> str:
    made = member.post("/api/v1/studies", json=study()).json()["id"]
    train_all(sessions, storage)
    return f"/api/v1/studies/{made}"


def test_a_study_has_a_curve_for_each_variant(trained: str, viewer: TestClient) -> None:
    found = viewer.get(f"{trained}/curves").json()
    assert (found["metric"], found["x"]) == ("val_accuracy", "epoch")
    names = [one["variant"] for one in viewer.get(f"{trained}/comparison").json()["variants"]]
    assert [one["variant"] for one in found["series"]] == names
    assert sum(one["left_out"].get("diverged", 0) for one in found["series"]) == 1
    assert [point["x"] for point in found["series"][0]["points"]] == [1, 2]
    steps = viewer.get(f"{trained}/curves", params={"x": "step", "metric": "train_loss"}).json()
    assert (steps["metric"], steps["x"]) == ("train_loss", "step")


def test_a_study_shows_every_seed_where_asked(trained: str, viewer: TestClient) -> None:
    means = viewer.get(f"{trained}/curves").json()
    found = viewer.get(f"{trained}/curves", params={"seeds": True, "x": "step"}).json()
    jobs = viewer.get(f"{trained}/jobs").json()["items"]
    assert all(one["seeds"] == [] for one in means["series"])
    shown = [seed for one in found["series"] for seed in one["seeds"]]
    assert sorted(one["job_id"] for one in shown) == sorted(one["id"] for one in jobs)
    assert [one["left_out"] for one in shown].count("diverged") == 1
    assert all(len(one["points"]) == 2 for one in shown)
    assert found["seeds_left_out"] == 0


def test_a_job_that_diverged_says_how_many_of_its_values_no_curve_shows(
    trained: str, viewer: TestClient
) -> None:
    jobs = viewer.get(f"{trained}/jobs").json()["items"]
    [diverged] = [one["id"] for one in jobs if one["reason"] == "diverged"]
    found = viewer.get(f"/api/v1/jobs/{diverged}/curves", params={"metric": "val_loss"}).json()
    assert [(one["points"], one["non_finite"]) for one in found["series"]] == [([], 2), ([], 2)]


def test_a_job_has_a_curve(trained: str, viewer: TestClient) -> None:
    job = viewer.get(f"{trained}/jobs").json()["items"][-1]["id"]
    epochs = viewer.get(f"/api/v1/jobs/{job}/epochs").json()["items"]
    found = viewer.get(f"/api/v1/jobs/{job}/curves", params={"metric": "val_loss"}).json()
    assert [one["mean"] for one in found["series"][0]["points"]] == [
        one["val_loss"] for one in epochs if one["val_loss"] is not None
    ]
    assert viewer.get("/api/v1/jobs/999/curves").status_code == 404


def test_a_metric_that_has_no_curve_is_refused(trained: str, viewer: TestClient) -> None:
    answer = viewer.get(f"{trained}/curves", params={"metric": "test_accuracy"})
    assert answer.status_code == 422
    assert "val_accuracy" in answer.json()["detail"]


def test_a_picture_is_drawn_once_for_each_way_to_look_at_it(
    trained: str, viewer: TestClient, replace: Callable[..., None]
) -> None:
    counting = Counting()
    replace(render_queue=RenderQueue(counting))
    job = viewer.get(f"{trained}/jobs").json()["items"][-1]["id"]
    for path, format, kind in (
        (f"{trained}/curves", "png", "image/png"),
        (f"{trained}/curves", "svg", "image/svg+xml"),
        (f"{trained}/curves", "png", "image/png"),
        (f"{trained}/curves", "pdf", "application/pdf"),
        (f"/api/v1/jobs/{job}/curves", "png", "image/png"),
    ):
        answer = viewer.get(path, params={"format": format})
        assert (answer.status_code, answer.headers["content-type"]) == (200, kind)
    assert counting.drawn == [
        ("curves", "png"),
        ("curves", "svg"),
        ("curves", "pdf"),
        ("curves", "png"),
    ]
