"""Whatever process of the whole stack is killed: one final status, nothing missing or doubled anywhere."""

import os
import signal
from typing import Any

import httpx
import psutil
import pytest

from tests.support.mlflow_reading import history, run_of_job
from tests.support.stack import Stack
from tests.support.waiting import wait_for

EPOCHS = 15
RUNNING: dict[str, Any] = {
    "project": "faults",
    "dataset": {"name": "digits"},
    "model": {"name": "mlp", "hidden": [16]},
    "norm": {"kind": "batch"},
    "regularization": [{"kind": "dropout", "p": 0.1}],
    "optimizer": {"kind": "sgd", "lr": 0.01},
    "training": {"epochs": EPOCHS, "batch_size": 8, "checkpoint_seconds": 0.05},
}
QUEUED = {**RUNNING, "training": {"epochs": 2}, "resources": {"priority": "low"}}


def kill(pid: int) -> None:
    os.kill(pid, signal.SIGKILL)


def kill_child(stack: Stack) -> None:
    for child in psutil.Process(pid_of(stack, "worker")).children():
        child.kill()


KILLS = {
    "a worker's children": kill_child,
    "the worker's parent": lambda stack: kill(pid_of(stack, "worker")),
    "the API": lambda stack: kill(pid_of(stack, "api")),
    "the mirror": lambda stack: kill(pid_of(stack, "mirror")),
    "the sweep": lambda stack: kill(pid_of(stack, "sweep")),
    "MLflow": lambda stack: kill(pid_of(stack, "mlflow")),
    "Redis": lambda stack: kill(pid_of(stack, "redis")),
    "PostgreSQL": lambda stack: kill(pid_of(stack, "postgres")),
}


@pytest.fixture
def whole(stack: Stack) -> Stack:
    """The stack with every process ready again after what an earlier test did to it."""

    def is_whole() -> bool:
        return all(row["state"] == "ready" for row in stack.status()["processes"])

    wait_for(is_whole, "every process is ready")
    return stack


@pytest.mark.parametrize("victim", KILLS)
def test_no_job_notices_for_good_that_something_was_killed(whole: Stack, victim: str) -> None:
    stack = whole
    running = [stack.post("/jobs", {**RUNNING, "seed": seed})["id"] for seed in range(2)]
    queued = stack.post("/jobs", QUEUED)["id"]
    wait_for(lambda: len(stack.items(f"/jobs/{running[0]}/epochs")) >= 2, "it is being trained")

    KILLS[victim](stack)

    for job_id, epochs in [(running[0], EPOCHS), (running[1], EPOCHS), (queued, 2)]:
        job = wait_for(lambda job_id=job_id: final(stack, job_id), f"job {job_id} ended")
        assert (job["status"], job["reason"]) == ("succeeded", "completed")
        recorded = stack.items(f"/jobs/{job_id}/epochs")
        assert [row["epoch"] for row in recorded] == list(range(1, epochs + 1))
        ends = [one for one in stack.items(f"/jobs/{job_id}/transitions") if is_final(one)]
        assert len(ends) == 1
        run = wait_for(lambda job_id=job_id: run_of_job(stack, job_id), "it is closed in MLflow")
        points = [(one["step"], one["value"]) for one in history(stack, run["id"], "train/loss")]
        assert points == [(row["epoch"], row["train_loss"]) for row in recorded]


def test_killed_children_are_followed_by_an_attempt_from_the_checkpoint(whole: Stack) -> None:
    stack = whole
    # Longer than any machine needs to find and kill them.
    endless = {**RUNNING, "seed": 7, "training": {**RUNNING["training"], "epochs": 10_000}}
    job_id = stack.post("/jobs", endless)["id"]
    wait_for(lambda: len(stack.items(f"/jobs/{job_id}/epochs")) >= 2, "it is being trained")
    kill_child(stack)

    def resumed() -> bool:
        attempts = stack.items(f"/jobs/{job_id}/attempts")
        return len(attempts) == 2 and attempts[1]["first_step"] is not None

    wait_for(resumed, "a second attempt trains")
    stack.post(f"/jobs/{job_id}/cancel")
    wait_for(lambda: final(stack, job_id), "the job ended")
    first, second = stack.items(f"/jobs/{job_id}/attempts")
    assert (first["number"], first["end"]) == (1, "lost")
    assert (second["number"], second["end"]) == (2, "cancelled")
    assert second["first_step"] > 0


def pid_of(stack: Stack, name: str) -> int:
    return int(stack.process(name)["pid"])


def final(stack: Stack, job_id: int) -> dict[str, Any] | None:
    """The job once it ended; None as well while nothing answers."""
    try:
        answer = stack.api.get(f"/jobs/{job_id}")
    except httpx.TransportError:
        return None
    job: dict[str, Any] = answer.json()
    return job if answer.is_success and job["finished_at"] else None


def is_final(transition: dict[str, Any]) -> bool:
    return str(transition["to_status"]) in ("succeeded", "failed", "cancelled")
