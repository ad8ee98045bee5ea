"""PostgreSQL is restarted, Redis forgets or hangs, while jobs are queued and running: nothing is lost."""

import os
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager

import redis

from normlab.stack.servers import Postgres
from store.db.models import Job
from tests.support.cluster import LEASE_SECONDS, House, long_training, make_spec

EPOCHS = list(range(1, 21))


def with_sweep(house: House) -> House:
    """Its worker and its sweep outlive what each test does to the servers: the next one uses them again."""
    house.staff("worker.sweep")
    return house


def assert_all_succeed(house: House, ids: list[int]) -> None:
    for job_id in ids:
        house.wait_for_success(job_id)
        attempts = house.attempts(job_id)
        assert attempts[-1].end == "completed"
        assert house.job(job_id).metrics["epochs"] == len(house.epochs(job_id))


def test_postgres_restarts_while_a_job_runs_and_the_same_attempt_goes_on(
    staffed_house: House,
) -> None:
    house = with_sweep(staffed_house)
    running, queued = house.submit(make_spec(training=long_training()), make_spec())
    house.wait_for_epochs(running)
    restart(house.postgres)
    assert_all_succeed(house, [running, queued])
    assert [attempt.end for attempt in house.attempts(running)] == ["completed"]
    assert [row.epoch for row in house.epochs(running)] == EPOCHS


def test_a_database_away_for_longer_than_a_lease_suspends_the_training_and_loses_nothing(
    staffed_house: House,
) -> None:
    house = with_sweep(staffed_house)
    # Longer than a lease on a fast machine, too: one that ends before has nothing to suspend.
    (job_id,) = house.submit(make_spec(training=long_training(240)))
    house.wait_for_epochs(job_id)
    with away(house):
        time.sleep(LEASE_SECONDS * 1.5)
        house.until(lambda: "training is suspended" in house.tell(), "the suspension")
    assert_all_succeed(house, [job_id])
    assert [row.epoch for row in house.epochs(job_id)] == list(range(1, 241))
    # A renewal came before the sweep's patience was over: still the same attempt.
    assert [attempt.end for attempt in house.attempts(job_id)] == ["completed"]


def test_a_loss_that_an_outage_caused_does_not_count(house: House) -> None:
    worker = house.start()
    house.start("worker.sweep")
    resources = {"device": "cpu", "timeout": 3600, "max_attempts": 1}
    (job_id,) = house.submit(make_spec(training=long_training(), resources=resources))
    house.wait_for_epochs(job_id)
    with away(house):
        worker.kill()
        time.sleep(LEASE_SECONDS)
    house.silence("here")
    house.start(NORMLAB_HOST_NAME="there")
    assert_all_succeed(house, [job_id])
    first, second = house.attempts(job_id)
    assert (first.end, first.counts, second.end) == ("lost", False, "completed")


def test_redis_forgets_everything_and_the_sweep_wakes_the_workers_again(
    staffed_house: House,
) -> None:
    house = with_sweep(staffed_house)
    (running,) = house.submit(make_spec(training=long_training()))
    house.wait_for_epochs(running)
    more = house.submit(make_spec(seed=1), make_spec(seed=2))
    client = redis.Redis(unix_socket_path=str(house.redis.socket))
    client.flushall()
    client.close()
    assert_all_succeed(house, [running, *more])
    # The child is idle now: only a message that was sent anew starts it.
    later = house.submit(make_spec(seed=3), wake=False)
    assert_all_succeed(house, later)


def test_a_hanging_redis_stops_nothing_that_runs_and_what_came_meanwhile_is_done_later(
    staffed_house: House,
) -> None:
    house = with_sweep(staffed_house)
    (running,) = house.submit(make_spec(training=long_training()))
    house.wait_for_epochs(running)
    assert house.redis.pid is not None
    os.kill(house.redis.pid, signal.SIGSTOP)
    try:
        asked_at = time.monotonic()
        during = house.submit(make_spec(seed=1))
        assert time.monotonic() - asked_at < 30
        # The child that ends its job claims the next one with no message at all.
        assert_all_succeed(house, [running, *during])
        idle = house.submit(make_spec(seed=2))
        time.sleep(1)
        assert house.job(idle[0]).status == "queued"
    finally:
        os.kill(house.redis.pid, signal.SIGCONT)
    assert_all_succeed(house, idle)


@contextmanager
def away(house: House) -> Iterator[None]:
    """PostgreSQL is stopped, and back afterwards whatever a test found: the next one needs it."""
    house.engine.dispose()
    house.postgres.stop()
    try:
        yield
    finally:
        house.postgres.start()


def restart(postgres: Postgres) -> None:
    postgres.stop()
    postgres.start()


def test_redis_restarts_while_a_worker_waits(staffed_house: House) -> None:
    house = with_sweep(staffed_house)
    worker = house.staff()
    house.until(lambda: len(worker.children()) == 1, "a child")
    house.redis.stop()
    (job_id,) = house.submit(make_spec())
    with house.sessions.begin() as session:
        assert session.get_one(Job, job_id).status == "queued"
    house.redis.start()
    assert_all_succeed(house, [job_id])
