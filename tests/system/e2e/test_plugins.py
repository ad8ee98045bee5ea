"""Plugins of a package that pip has installed, through every process: data decoded, a model trained, put through surgery,
measured by a metric, mirrored."""

from typing import Any

import pytest

from tests.support.mlflow_reading import run_of_job
from tests.support.stack import Stack
from tests.support.waiting import wait_for

STUDY: dict[str, Any] = {
    "project": "plugins",
    "name": "norms in a model of our own",
    "base": {
        "dataset": {"name": "stripes"},
        "evaluations": [{"metrics": [{"name": "plugin:balanced_accuracy"}]}],
        "model": {"name": "plugin:tiny", "options": {"width": 8, "depth": 2}},
        "optimizer": {"kind": "sgd", "lr": 0.1, "momentum": 0.9},
        "training": {"epochs": 2, "batch_size": 32},
    },
    "variants": {
        "none": {"norm": {"kind": "none"}},
        "batch": {"norm": {"kind": "batch"}},
        "group": {"norm": {"kind": "group", "groups": 4}},
    },
    "seeds": 1,
}


@pytest.fixture(scope="module")
def dataset(stack: Stack) -> None:
    stack.normlab("dataset", "add", "stripes", "plugin:stripes", "--wait")


@pytest.fixture(scope="module")
def study(stack: Stack, dataset: None) -> dict[str, Any]:
    number = stack.post("/studies", STUDY)["id"]
    finished: dict[str, Any] = stack.wait(f"/studies/{number}")
    assert finished["status"] == "succeeded"
    return finished


@pytest.fixture(scope="module")
def jobs(stack: Stack, study: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """By variant."""
    return {job["variant"]: job for job in stack.items(f"/studies/{study['id']}/jobs")}


def test_every_job_says_which_code_it_ran(
    stack: Stack, study: dict[str, Any], jobs: dict[str, dict[str, Any]]
) -> None:
    pinned = study["spec"]["plugins"]["model:tiny"]
    assert study["spec"]["plugins"]["metric:balanced_accuracy"] == pinned
    assert (pinned["package"], pinned["version"]) == ("lab-nets", "1.0")
    assert [job["spec"]["model"]["installed"] for job in jobs.values()] == [pinned] * 3


def test_its_norms_were_replaced_and_nothing_else(
    stack: Stack, jobs: dict[str, dict[str, Any]]
) -> None:
    def count(variant: str) -> int:
        first = stack.get(f"/jobs/{jobs[variant]['id']}/logs")["items"][0]["text"]
        return int(first.rpartition("·")[2].split()[0].replace(",", ""))

    assert count("batch") == count("group")
    # Two norms of eight gains and biases are gone, and the convolutions before them were given a bias.
    assert count("none") == count("batch") - 2 * 2 * 8 + 2 * 8


def test_its_metric_is_recorded(jobs: dict[str, dict[str, Any]]) -> None:
    for job in jobs.values():
        assert 0 <= job["metrics"]["test_balanced_accuracy"] <= 1


def test_an_equal_job_is_answered_and_trained_by_nobody(
    stack: Stack, jobs: dict[str, dict[str, Any]]
) -> None:
    spec = {key: value for key, value in jobs["batch"]["spec"].items() if key != "resources"}
    answer = stack.api.post("/jobs", json=spec)
    assert answer.status_code == 202, answer.text
    assert stack.wait(f"/jobs/{answer.json()['id']}")["reused_from"] is not None


def test_its_model_is_in_mlflow(stack: Stack, jobs: dict[str, dict[str, Any]]) -> None:
    def find_model() -> Any:
        run = run_of_job(stack, jobs["batch"]["id"])
        answer = stack.mlflow.get("runs/get", params={"run_id": run["id"]}) if run else None
        found = answer.json()["run"] if answer is not None and answer.is_success else {}
        return found.get("outputs", {}).get("model_outputs")

    assert wait_for(find_model, "the model is logged", 300)


def test_the_command_lists_what_is_offered(stack: Stack) -> None:
    said = stack.normlab("catalog", "plugins")
    assert "plugin:tiny" in said
    assert "lab-nets 1.0" in said.replace("\n", " ")


def test_what_is_not_offered_is_refused_with_what_is(stack: Stack) -> None:
    document = {**STUDY["base"], "model": {"name": "plugin:tinny"}, "norm": {"kind": "batch"}}
    answer = stack.api.post("/jobs", json=document)
    assert answer.status_code == 422
    assert "there is plugin:tiny" in answer.json()["errors"][0]["detail"]
