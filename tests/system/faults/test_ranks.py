"""A job on several devices is killed in every way: no process is left, nothing is missing, equal bits."""

import os
import signal
from collections.abc import Mapping, Sequence
from typing import Any

import psutil
import torch
from sqlalchemy import func, select
from torch import Tensor

from store.db.models import Lease
from tests.support.cluster import Cluster, make_spec
from tests.support.faults.invariants import COMPARED

TWO = {"device": "cpu", "devices": 2, "timeout": 3600, "max_attempts": 6}
#: Batch norm by each rank for itself, and dropout: both are the ranks' own. Steps take longer than those of one process.
TRAINING = {"batch_size": 32, "checkpoint_seconds": 0.2}
INTERRUPTED = make_spec(training={**TRAINING, "epochs": 14}, resources=TWO)


def test_a_job_on_two_slots_is_killed_drained_and_resumed_to_the_same_bits(
    cluster: Cluster,
) -> None:
    worker = cluster.start(NORMLAB_LEASE_SECONDS="600", NORMLAB_CPU_SLOTS="2")
    (killed,) = cluster.submit(INTERRUPTED)
    cluster.wait_for_epochs(killed, 2)
    cluster.until(lambda: bool(cluster.checkpoints(killed)), "a checkpoint", longest_pause=0.05)
    (child,) = [pid for pid in worker.children() if pid == cluster.attempts(killed)[0].process]
    first = processes(cluster)
    assert len(first) == 3
    assert held(cluster) == 2
    os.kill(child, signal.SIGKILL)

    cluster.wait_for_epochs(killed, 2, attempt=2)
    assert not [one for one in first if one.is_running()]
    ranks(cluster)[1].kill()

    cluster.wait_for_epochs(killed, 2, attempt=3)
    assert worker.terminate() == 0
    assert not processes(cluster)

    cluster.start(NORMLAB_LEASE_SECONDS="600", NORMLAB_CPU_SLOTS="2")
    cluster.wait_for_success(killed)
    attempts = cluster.attempts(killed)
    assert [one.end for one in attempts] == ["lost", "error", "drained", "completed"]
    assert "rank 1 was killed by SIGKILL" in (attempts[1].error or "")
    assert all((one.first_step or 0) > 0 for one in attempts[1:])
    (uninterrupted,) = cluster.submit(INTERRUPTED)
    cluster.wait_for_success(uninterrupted)
    assert_equal_bits(cluster, killed, uninterrupted)
    assert held(cluster) == 0
    cluster.until(lambda: not processes(cluster), "the end of all ranks")


def test_a_cancelled_job_leaves_no_rank(cluster: Cluster) -> None:
    cluster.start(NORMLAB_CPU_SLOTS="2")
    (job_id,) = cluster.submit(make_spec(training={**TRAINING, "epochs": 10_000}, resources=TWO))
    cluster.wait_for_epochs(job_id, 1)
    assert len(ranks(cluster)) == 2
    cluster.request_action(job_id, "cancel")
    cluster.wait(job_id, "cancelled")
    cluster.until(lambda: not processes(cluster), "the end of all ranks")
    assert held(cluster) == 0


def assert_equal_bits(cluster: Cluster, one: int, other: int) -> None:
    assert learned(cluster, one) == learned(cluster, other)
    assert cluster.job(one).metrics == cluster.job(other).metrics
    for kind in ("last", "best"):
        left, right = weights(cluster, one, kind), weights(cluster, other, kind)
        assert left.keys() == right.keys()
        assert all(torch.equal(left[name], right[name]) for name in left)


def learned(cluster: Cluster, job_id: int) -> list[tuple[Any, ...]]:
    return [tuple(getattr(row, name) for name in COMPARED) for row in cluster.epochs(job_id)]


def weights(cluster: Cluster, job_id: int, kind: str) -> Mapping[str, Tensor]:
    newest = [row for row in cluster.checkpoints(job_id) if row.kind == kind][-1]
    content = torch.load(cluster.storage / newest.path, weights_only=True)
    tensors: Mapping[str, Tensor] = content["state"]["model"] if kind == "last" else content
    return tensors


def processes(cluster: Cluster) -> Sequence[psutil.Process]:
    """Ranks of this cluster's jobs, and who forked them."""
    return [one for one in psutil.process_iter() if _is_of(cluster, one)]


def _is_of(cluster: Cluster, process: psutil.Process) -> bool:
    try:
        is_running = process.status() != psutil.STATUS_ZOMBIE
        storage = process.environ().get("NORMLAB_STORAGE")
        named = "trainer.ranks" in " ".join(process.cmdline())
        return is_running and named and storage == str(cluster.storage)
    except psutil.Error:
        return False


def ranks(cluster: Cluster) -> Sequence[psutil.Process]:
    """In their order."""
    found = processes(cluster)
    pids = {one.pid for one in found}
    return sorted((one for one in found if one.ppid() in pids), key=lambda one: one.pid)


def held(cluster: Cluster) -> int:
    with cluster.sessions.begin() as session:
        return session.scalars(select(func.count()).select_from(Lease)).one()
