"""PostgreSQL is restarted, Redis forgets or hangs, while jobs are queued and running: nothing is lost."""

import os
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager

import redis

from normlab.stack.servers import Postgres
from store.db.models import Job
from tests.support.cluster import LEASE_SECONDS, Cluster, long_training, make_spec

EPOCHS = list(range(1, 21))


def with_sweep(cluster: Cluster) -> Cluster:
    """Its worker and its sweep outlive what each test does to the servers: the next one uses them again."""
    cluster.ensure_worker("worker.sweep")
    return cluster


def assert_all_succeed(cluster: Cluster, ids: list[int]) -> None:
    for job_id in ids:
        cluster.wait_for_success(job_id)
        attempts = cluster.attempts(job_id)
        assert attempts[-1].end == "completed"
        assert cluster.job(job_id).metrics["epochs"] == len(cluster.epochs(job_id))


def test_postgres_restarts_while_a_job_runs_and_the_same_attempt_goes_on(
    cluster_with_worker: Cluster,
) -> None:
    cluster = with_sweep(cluster_with_worker)
    running, queued = cluster.submit(make_spec(training=long_training()), make_spec())
    cluster.wait_for_epochs(running)
    restart(cluster.postgres)
    assert_all_succeed(cluster, [running, queued])
    assert [attempt.end for attempt in cluster.attempts(running)] == ["completed"]
    assert [row.epoch for row in cluster.epochs(running)] == EPOCHS


def test_a_database_away_for_longer_than_a_lease_suspends_the_training_and_loses_nothing(
    cluster_with_worker: Cluster,
) -> None:
    cluster = with_sweep(cluster_with_worker)
    # Longer than a lease on a fast machine, too: one that ends before has nothing to suspend.
    # What is saved all the time has to be recorded, too, before the lease of a busy machine is over.
    training = {**long_training(250), "checkpoint_seconds": 2.0}
    (job_id,) = cluster.submit(make_spec(training=training))
    cluster.wait_for_epochs(job_id)
    with away(cluster):
        time.sleep(LEASE_SECONDS * 1.5)
        cluster.until(lambda: "training is suspended" in cluster.logs(), "the suspension")
    assert_all_succeed(cluster, [job_id])
    assert [row.epoch for row in cluster.epochs(job_id)] == list(range(1, 251))
    # A renewal came before the sweep's patience was over: still the same attempt.
    assert [attempt.end for attempt in cluster.attempts(job_id)] == ["completed"]


def test_a_loss_that_an_outage_caused_does_not_count(cluster: Cluster) -> None:
    worker = cluster.start()
    cluster.start("worker.sweep")
    resources = {"device": "cpu", "timeout": 3600, "max_attempts": 1}
    (job_id,) = cluster.submit(make_spec(training=long_training(), resources=resources))
    cluster.wait_for_epochs(job_id)
    with away(cluster):
        worker.kill()
        time.sleep(LEASE_SECONDS)
    cluster.mark_host_dead("here")
    cluster.start(NORMLAB_HOST_NAME="there")
    assert_all_succeed(cluster, [job_id])
    first, second = cluster.attempts(job_id)
    assert (first.end, first.counts, second.end) == ("lost", False, "completed")


def test_redis_forgets_everything_and_the_sweep_wakes_the_workers_again(
    cluster_with_worker: Cluster,
) -> None:
    cluster = with_sweep(cluster_with_worker)
    (running,) = cluster.submit(make_spec(training=long_training()))
    cluster.wait_for_epochs(running)
    more = cluster.submit(make_spec(seed=1), make_spec(seed=2))
    client = redis.Redis(unix_socket_path=str(cluster.redis.socket))
    client.flushall()
    client.close()
    assert_all_succeed(cluster, [running, *more])
    # The child is idle now: only a message that was sent anew starts it.
    later = cluster.submit(make_spec(seed=3), wake=False)
    assert_all_succeed(cluster, later)


def test_a_hanging_redis_stops_nothing_that_runs_and_what_came_meanwhile_is_done_later(
    cluster_with_worker: Cluster,
) -> None:
    cluster = with_sweep(cluster_with_worker)
    (running,) = cluster.submit(make_spec(training=long_training()))
    cluster.wait_for_epochs(running)
    assert cluster.redis.pid is not None
    os.kill(cluster.redis.pid, signal.SIGSTOP)
    try:
        asked_at = time.monotonic()
        during = cluster.submit(make_spec(seed=1))
        assert time.monotonic() - asked_at < 30
        # The child that ends its job acquires the next one with no message at all.
        assert_all_succeed(cluster, [running, *during])
        idle = cluster.submit(make_spec(seed=2))
        time.sleep(1)
        assert cluster.job(idle[0]).status == "queued"
    finally:
        os.kill(cluster.redis.pid, signal.SIGCONT)
    assert_all_succeed(cluster, idle)


@contextmanager
def away(cluster: Cluster) -> Iterator[None]:
    """PostgreSQL is stopped, and back afterwards whatever a test found: the next one needs it."""
    cluster.engine.dispose()
    cluster.postgres.stop()
    try:
        yield
    finally:
        cluster.postgres.start()


def restart(postgres: Postgres) -> None:
    postgres.stop()
    postgres.start()


def test_redis_restarts_while_a_worker_waits(cluster_with_worker: Cluster) -> None:
    cluster = with_sweep(cluster_with_worker)
    worker = cluster.ensure_worker()
    cluster.until(lambda: len(worker.children()) == 1, "a child")
    cluster.redis.stop()
    (job_id,) = cluster.submit(make_spec())
    with cluster.sessions.begin() as session:
        assert session.get_one(Job, job_id).status == "queued"
    cluster.redis.start()
    assert_all_succeed(cluster, [job_id])
