"""Processes are killed in mid-training: one final status, nothing missing or doubled, equal bits."""

import os
import signal
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from tests.support.cluster import Cluster, long_training, make_spec

#: What an epoch says of the training itself, and not of when and where it ran.
COMPARED = (
    "epoch", "step", "train_loss", "train_cost", "train_accuracy", "val_loss", "val_accuracy",
    "learning_rate", "extra", "non_finite",
)  # fmt: skip

INTERRUPTED = make_spec(training=long_training())


def learned(cluster: Cluster, job_id: int) -> list[tuple[Any, ...]]:
    return [tuple(getattr(row, name) for name in COMPARED) for row in cluster.epochs(job_id)]


def weights(cluster: Cluster, job_id: int, kind: str) -> Mapping[str, Tensor]:
    newest = [row for row in cluster.checkpoints(job_id) if row.kind == kind][-1]
    content = torch.load(cluster.storage / newest.path, weights_only=True)
    tensors: Mapping[str, Tensor] = content["state"]["model"] if kind == "last" else content
    return tensors


def assert_equal_bits(cluster: Cluster, one: int, other: int) -> None:
    assert learned(cluster, one) == learned(cluster, other)
    assert cluster.job(one).metrics == cluster.job(other).metrics
    for kind in ("last", "best"):
        left, right = weights(cluster, one, kind), weights(cluster, other, kind)
        assert left.keys() == right.keys()
        assert all(torch.equal(left[name], right[name]) for name in left)


def test_a_killed_child_is_reported_at_once_and_its_job_resumes_to_the_same_bits(
    cluster: Cluster,
) -> None:
    # Only the parent can be so quick: this lease outlasts the test.
    worker = cluster.start(NORMLAB_LEASE_SECONDS="600")
    (killed,) = cluster.submit(INTERRUPTED)
    cluster.wait_for_epochs(killed)
    (child,) = worker.children()
    os.kill(child, signal.SIGKILL)
    cluster.wait_for_success(killed)

    first, second = cluster.attempts(killed)
    assert (first.end, second.end) == ("lost", "completed")
    assert first.process == child != second.process
    assert second.first_step is not None
    assert second.first_step > 0
    # The last recorded epoch's checkpoint, the one before, or one from within the epoch after it.
    assert second.first_step >= [row for row in cluster.epochs(killed) if row.attempt == 1][-2].step
    (uninterrupted,) = cluster.submit(INTERRUPTED)
    cluster.wait_for_success(uninterrupted)
    assert len(cluster.attempts(uninterrupted)) == 1
    assert_equal_bits(cluster, killed, uninterrupted)


def test_jobs_of_a_killed_parent_go_on_under_the_next_one(cluster: Cluster) -> None:
    worker = cluster.start(NORMLAB_LEASE_SECONDS="600")
    running, queued = cluster.submit(INTERRUPTED, make_spec())
    cluster.wait_for_epochs(running)
    children = worker.children()
    worker.kill()
    cluster.until(lambda: not any(map(_lives, children)), "the children's end")

    cluster.start(NORMLAB_LEASE_SECONDS="600")
    for job_id in (running, queued):
        cluster.wait_for_success(job_id)
    first, second = cluster.attempts(running)
    assert (first.end, second.end) == ("lost", "completed")
    assert second.first_step is not None
    assert second.first_step > 0
    assert [row.epoch for row in cluster.epochs(running)] == list(range(1, 21))


def test_the_sweep_returns_the_job_of_a_host_that_is_gone(cluster: Cluster) -> None:
    worker = cluster.start()
    (job_id,) = cluster.submit(INTERRUPTED)
    cluster.wait_for_epochs(job_id)
    worker.kill()
    cluster.mark_host_dead("here")
    cluster.start("worker.sweep")
    # Another host: only the lease tells that the first is gone.
    cluster.start(NORMLAB_HOST_NAME="there")
    cluster.wait_for_success(job_id)
    attempts = cluster.attempts(job_id)
    assert len(attempts) == 2, [
        (one.host, one.end, one.first_step, one.started_at, one.ended_at) for one in attempts
    ]
    first, second = attempts
    assert (first.host, second.host) == ("here", "there")
    assert (first.end, first.counts, second.end) == ("lost", True, "completed")
    assert second.first_step is not None
    assert second.first_step > 0


def _lives(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True
