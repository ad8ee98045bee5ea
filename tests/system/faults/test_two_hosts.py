"""Two hosts that share nothing but the servers and an object store do what one does, and one of them may be lost."""

import os
import shutil
import signal
from pathlib import Path

import pytest
from test_ranks import learned

from store.hosts import adopt_storage, host_views
from tests.support.cluster import Cluster, Program, long_training, make_spec
from tests.support.object_store import object_store

TRAINING = {**long_training(), "checkpoint_seconds": 0.2}
SPECS = [make_spec(seed=seed, training=TRAINING) for seed in (1, 2)]


@pytest.fixture
def store(cluster: Cluster, object_server: str, bucket: str, tmp_path: Path) -> dict[str, str]:
    """What names the cluster's storage, a new one."""
    adopt_storage(cluster.sessions, object_store(object_server, bucket, tmp_path / "first"))
    return {"NORMLAB_STORAGE": f"s3://{bucket}/lab", "NORMLAB_S3_ENDPOINT": object_server}


def start(cluster: Cluster, folder: Path, host: str, store: dict[str, str]) -> Program:
    return cluster.start(NORMLAB_HOST_NAME=host, NORMLAB_CACHE=str(folder / host), **store)


def hosts(cluster: Cluster) -> set[str]:
    with cluster.sessions.begin() as session:
        return {one.host for one in host_views.workers_view(session) if one.alive}


def test_two_hosts_give_what_one_gives_although_one_is_lost_for_good(
    cluster: Cluster, store: dict[str, str], tmp_path: Path
) -> None:
    lost = start(cluster, tmp_path, "alpha", store)
    start(cluster, tmp_path, "beta", store)
    cluster.start("worker.sweep", **store, NORMLAB_CACHE=str(tmp_path / "beta"))
    # Both first, or one might do all of it while the other starts.
    cluster.until(lambda: {"alpha", "beta"} <= hosts(cluster), "two workers")
    jobs = cluster.submit(*SPECS)

    def job_of(host: str) -> int | None:
        held = [job for job in jobs for one in cluster.attempts(job) if one.host == host]
        return next((job for job in held if cluster.checkpoints(job)), None)

    cluster.until(
        lambda: job_of("alpha") is not None and job_of("beta") is not None,
        "both at work",
        longest_pause=0.05,
    )
    moved = job_of("alpha")
    assert moved is not None
    os.killpg(lost.process.pid, signal.SIGKILL)
    shutil.rmtree(tmp_path / "alpha")

    for job in jobs:
        cluster.wait_for_success(job)
    first, second = cluster.attempts(moved)
    assert (first.host, first.end, second.host) == ("alpha", "lost", "beta")
    # It went on from what the first host had stored.
    assert second.first_step is not None
    assert second.first_step > 0
    (again,) = cluster.submit(SPECS[jobs.index(moved)])
    cluster.wait_for_success(again)
    assert [attempt.host for attempt in cluster.attempts(again)] == ["beta"]
    assert learned(cluster, moved) == learned(cluster, again)
    assert cluster.job(moved).metrics == cluster.job(again).metrics


def test_a_host_whose_storage_is_another_is_refused_at_its_start(
    cluster: Cluster, store: dict[str, str], tmp_path: Path
) -> None:
    stranger = cluster.start(NORMLAB_HOST_NAME="gamma", NORMLAB_STORAGE=str(tmp_path / "own"))
    assert stranger.process.wait(400) == 1
    assert f"as {store['NORMLAB_STORAGE']} at " in cluster.logs()
