"""A worker of fake GPUs: the first job of a shape has one for itself, the next ones share it."""

import json

from sqlalchemy import select

from store.db.models import Footprint
from store.hosts import host_views
from tests.support.cluster import Cluster, make_spec


def test_jobs_of_one_shape_are_measured_and_then_share_a_gpu(cluster: Cluster) -> None:
    file = cluster.folder / "gpus.json"
    total, foreign = 24 * 10**9, 2 * 10**9
    file.write_text(json.dumps([{"memory_bytes": total, "foreign_bytes": foreign}]))
    cluster.start(NORMLAB_FAKE_GPUS=str(file), NORMLAB_CPU_SLOTS="0", NORMLAB_GPU_SLOTS="2")

    specs = [make_spec(seed=seed, resources={"device": "cuda"}) for seed in range(3)]
    jobs = cluster.submit(*specs)
    cluster.until(lambda: any(one.held for one in devices(cluster)), "a job that runs")
    for job_id in jobs:
        cluster.wait_for_success(job_id)

    assert [cluster.attempts(job_id)[0].slots for job_id in jobs] == [2, 1, 1]
    with cluster.sessions.begin() as session:
        [peak] = session.scalars(select(Footprint.memory_bytes)).all()
    assert 10**8 < peak < total
    [device] = devices(cluster)
    assert device.memory is not None
    assert device.memory.foreign_bytes == foreign


def devices(cluster: Cluster) -> list[host_views.DeviceView]:
    with cluster.sessions.begin() as session:
        return host_views.devices_view(session)
