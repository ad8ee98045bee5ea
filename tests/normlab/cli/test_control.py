"""What the command asks of the service, and what it says of the answer."""

import json
from pathlib import Path
from typing import Any, Self

import pytest
from typer.testing import CliRunner

from normlab.cli import control, demo, show, submit
from normlab.cli.app import app
from normlab.cli.people import users
from normlab.client.ids import Reference
from normlab.home import Home

STUDY: dict[str, Any] = {
    "id": 2,
    "name": "norms",
    "status": "queued",
    "counts": {"queued": 4},
    "warnings": [],
    "notes": ["The verdict is exploratory from now on."],
    "same_as": [],
}


WARNING = "batch: dropout before batch norm"
PLAN: dict[str, Any] = {
    "kind": "study",
    "count": 2,
    "later_trials": 0,
    "then": 0,
    "variants": 2,
    "points": 1,
    "seeds": 1,
    "most_seeds": 1,
    "steps": 36,
    "bill": {"jobs": 2, "reused": 0, "device_seconds": None},
    "verdict": None,
    "defaults": [],
    "same_as": [],
    "arms": [],
    "cells": [{"name": "none | seed 0", "variant": "none", "point": {}, "seed": 0}],
    "warnings": [WARNING],
}


class Service:
    """Keeps what it is asked."""

    def __init__(self) -> None:
        self.asked: list[Any] = []

    def __call__(self) -> Self:
        return self

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def post(self, path: str, body: Any) -> Any:
        self.asked.append((path, body))
        return body

    def delete(self, path: str) -> None:
        self.asked.append(path)

    def items(self, path: str) -> list[Any]:
        self.asked.append(path)
        return []

    def prioritize(self, name: Any, priority: str) -> Any:
        self.asked.append((str(name), priority))
        return STUDY

    def extend(self, study: Any, seeds: Any, *, fresh: bool) -> Any:
        return STUDY

    def accept(self, document: Any, *, settings: Any, fresh: bool) -> Any:
        self.asked.append((str(document), list(settings)))
        return Reference("study", 2), STUDY

    def plan(self, document: Any, *, settings: Any, fresh: bool = False) -> Any:
        self.asked.append((str(document), list(settings)))
        return PLAN

    def show(self, name: Any) -> Any:
        return {**STUDY, "mlflow_url": "http://127.0.0.1:5000/#/experiments/1/runs/2"}

    def jobs_of(self, study: Any) -> Any:
        return [{"id": 7}]

    url = "http://127.0.0.1:8000"

    def get(self, path: str) -> Any:
        if path == "workers":
            full = {
                "host": "beta",
                "alive": True,
                "problems": ["claims nothing: /data has 3 MB free"],
            }
            return {"items": [full]}
        job = {"name": "none | seed 0", "owner": "ada", "priority": "high"}
        named = {**job, "id": 7, "study_id": 2, "study": "norms", "position": 1}
        alone = {**job, "id": 5, "study_id": None, "study": None}
        return {"queued": [{**named, "waiting_seconds": 65.0}], "running": [alone]}


@pytest.fixture
def service(monkeypatch: pytest.MonkeyPatch) -> Service:
    service = Service()
    for module in (show, users, control, submit):
        monkeypatch.setattr(module, "Client", service)
    return service


def run(*arguments: str) -> str:
    done = CliRunner().invoke(app, arguments)
    assert done.exit_code == 0, done.output
    return done.output


@pytest.mark.parametrize(
    "arguments",
    [
        ("users", "add", "emmy", "--role", "viewer"),
        ("users", "--add", "emmy", "--role", "viewer"),
    ],
)
def test_a_user_is_added_by_the_new_and_the_old_name(
    service: Service, arguments: tuple[str, ...]
) -> None:
    assert run(*arguments) == (
        "emmy is a viewer; create a token for them with: normlab token create NAME --user emmy\n"
    )
    assert service.asked == [("users", {"name": "emmy", "role": "viewer"})]


def test_nothing_is_deleted_before_the_person_has_said_yes(service: Service) -> None:
    named = ("delete", "j3", "s2", "--dataset", "cats", "--project", "my/shelf")
    refused = CliRunner().invoke(app, named, input="n\n")
    assert refused.exit_code == 1
    assert "j3, s2, dataset cats, project my/shelf? This can't be undone" in refused.output
    assert service.asked == []
    run(*named, "--yes")
    assert service.asked == ["jobs/3", "studies/2", "datasets/cats", "projects/my%2Fshelf"]


@pytest.mark.parametrize("arguments", [("users",), ("users", "list")])
def test_users_are_listed_with_and_without_the_verb(
    service: Service, arguments: tuple[str, ...]
) -> None:
    assert "no users" in run(*arguments)
    assert service.asked == ["users"]


def test_a_priority_is_changed_for_jobs_and_studies(service: Service) -> None:
    assert run("priority", "s2", "j7", "high").splitlines()[0] == (
        "s2: queued (4 queued), priority high"
    )
    assert service.asked == [("s2", "high"), ("j7", "high")]


def test_an_extension_prints_what_it_means_for_the_verdict(service: Service) -> None:
    assert "The verdict is exploratory from now on." in run("extend", "s2", "--seeds", "4")


def test_submit_sends_the_values_to_set(service: Service) -> None:
    run("submit", "study.yaml", "--set", "base.optimizer.lr=0.01", "--set", "seeds=16")
    # Planned for its bill, and submitted.
    assert service.asked == [("study.yaml", ["base.optimizer.lr=0.01", "seeds=16"])] * 2


def test_a_warning_is_printed_once_on_the_way_to_a_training(
    service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(STUDY, "warnings", [WARNING])
    planned = run("plan", "study.yaml")
    validated, submitted = run("validate", "study.yaml"), run("submit", "study.yaml")
    assert (planned + validated + submitted).count(WARNING) == 1
    assert f"warning: {WARNING}" in planned
    assert "1 warning: see normlab plan study.yaml" in validated
    assert "1 warning: see normlab show s2" in submitted


def test_a_folder_is_planned_file_by_file(service: Service, tmp_path: Path) -> None:
    for name in ("one.yaml", "two.json", "notes.txt"):
        (tmp_path / name).touch()
    assert run("plan", str(tmp_path)).count("Submit it with") == 2
    assert [Path(file).name for file, _ in service.asked] == ["one.yaml", "two.json"]
    assert json.loads(run("plan", str(tmp_path), "-o", "json")) == [PLAN, PLAN]
    assert json.loads(run("plan", "study.yaml", "-o", "json")) == PLAN
    csv = run("plan", "study.yaml", "-o", "csv").splitlines()
    assert csv == ["name,variant,point,seed", "none | seed 0,none,,0"]


def test_the_queue_names_the_study_of_each_job(service: Service) -> None:
    alone, named = (line.split() for line in run("queue").splitlines()[1:3])
    assert named[:5] == ["j7", "queued", "1", "s2", "norms"]
    assert alone[:3] == ["j5", "running", "none"]


def test_the_queue_ends_with_the_hosts_that_cannot_work(service: Service) -> None:
    warning = "warning: host beta: claims nothing: /data has 3 MB free"
    assert run("queue").splitlines()[-2:] == ["", warning]
    assert warning not in run("queue", "-o", "csv")


def test_the_demo_ends_with_where_to_click(
    service: Service, capsys: pytest.CaptureFixture[str]
) -> None:
    home = Home.from_environment()
    demo.show_where_next(service, Reference("study", 2), home)  # type: ignore[arg-type]
    assert (
        capsys.readouterr()
        .out.splitlines()[-1]
        .endswith(" http://127.0.0.1:5000/#/experiments/1/runs/2")
    )
