"""The whole stack goes down and comes up while jobs are queued and running: nothing is lost or done twice."""

from typing import Any

import pytest

from tests.support.mlflow_reading import history, run_of_job
from tests.support.stack import Stack
from tests.support.waiting import wait_for

EPOCHS = 20
STUDY: dict[str, Any] = {
    "version": 1,
    "project": "restarts",
    "name": "over a restart",
    "base": {
        "dataset": {"name": "digits"},
        "model": {"name": "mlp", "hidden": [16]},
        "optimizer": {"kind": "sgd", "lr": 0.01},
        "training": {"epochs": EPOCHS, "batch_size": 16, "checkpoint_seconds": 1},
    },
    "variants": {"none": {"norm": {"kind": "none"}}, "batch": {"norm": {"kind": "batch"}}},
    "baseline": "none",
    "metric": "test_accuracy",
}


# It stops and starts all processes, which takes minutes where the cores have other work.
@pytest.mark.timeout(900)
def test_jobs_queued_and_running_go_on_after_down_and_up(stack: Stack) -> None:
    slots = sum(worker["slots"] for worker in stack.items("/workers"))
    study = stack.post("/studies", {**STUDY, "seeds": max(3, slots)})["id"]

    def is_underway() -> bool:
        running = stack.items(f"/studies/{study}/jobs", status="running")
        return any(len(stack.items(f"/jobs/{job['id']}/epochs")) >= 2 for job in running)

    wait_for(is_underway, "a job has something to go on from")
    before = {job["id"]: job["status"] for job in stack.items(f"/studies/{study}/jobs")}
    assert {"queued", "running"} <= set(before.values())

    stack.normlab("down")
    assert stack.processes("") == []
    stack.normlab("up", "--detach")

    assert stack.wait(f"/studies/{study}", seconds=600)["status"] == "succeeded"
    after = stack.items(f"/studies/{study}/jobs")
    assert {job["id"] for job in after} == set(before)
    resumed = [job["id"] for job in after if was_resumed(stack, job["id"])]
    assert resumed
    for job_id in resumed:
        run = wait_for(lambda job_id=job_id: run_of_job(stack, job_id), "it is closed in MLflow")
        points = history(stack, run["id"], "train/loss")
        assert [point["step"] for point in points] == list(range(1, EPOCHS + 1))


def was_resumed(stack: Stack, job_id: int) -> bool:
    """Whether its training was interrupted; it ended once, and what an attempt had done stands."""
    epochs = stack.items(f"/jobs/{job_id}/epochs")
    assert [row["epoch"] for row in epochs] == list(range(1, EPOCHS + 1))
    changes = [row["to_status"] for row in stack.items(f"/jobs/{job_id}/transitions")]
    assert changes.count("succeeded") == 1
    *drained, last = stack.items(f"/jobs/{job_id}/attempts")
    assert (len(drained) <= 1, last["end"]) == (True, "completed")
    done = [row["step"] for row in epochs if row["attempt"] < last["number"]]
    if not done:
        return False
    assert [attempt["end"] for attempt in drained] == ["drained"]
    assert last["first_step"] >= max(done)
    return True
