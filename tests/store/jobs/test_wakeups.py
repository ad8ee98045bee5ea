"""Wake-ups: how many are due, and that a broker in trouble troubles nobody else."""

import os
import signal
import time
from collections.abc import Iterator
from datetime import timedelta

import pytest
import redis
from sqlalchemy import func, update
from sqlalchemy.orm import Session, sessionmaker

from normlab.stack.servers import Redis
from store.db.models import Worker
from store.jobs import leases, wakeups
from tests.support.factories import acquire_job, make_dataset, make_job, make_study, make_worker

Sessions = sessionmaker[Session]


@pytest.fixture(scope="module")
def module_redis(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Redis]:
    server = Redis(tmp_path_factory.mktemp("redis") / "server")
    server.start()
    yield server
    server.stop()


@pytest.fixture
def own_redis(module_redis: Redis) -> Iterator[Redis]:
    """Empty, and used by this module alone: a test may hold it or stop it."""
    if module_redis.pid is None:
        module_redis.start()
    with redis.Redis(unix_socket_path=str(module_redis.socket)) as client:
        client.flushall()
    yield module_redis
    if module_redis.pid is not None:
        os.kill(module_redis.pid, signal.SIGCONT)


def test_nothing_is_due_without_jobs_or_without_slots(sessions: Sessions) -> None:
    with sessions.begin() as session:
        make_worker(session, cpu=1)
        assert wakeups.due(session) == {}
        make_job(session)
        acquire_job(session)
        make_job(session)
        assert wakeups.due(session) == {}


def test_no_more_than_the_jobs_and_no_more_than_the_slots(sessions: Sessions) -> None:
    with sessions.begin() as session:
        make_worker(session, "alpha", cpu=2)
        make_worker(session, "beta", cpu=2)
        make_job(session)
        assert sum(wakeups.due(session).values()) == 1
        for _ in range(2):
            make_job(session)
        assert sum(wakeups.due(session).values()) == 3
        for _ in range(7):
            make_job(session)
        assert wakeups.due(session) == {"alpha": 2, "beta": 2}


def test_no_host_keeps_a_wake_up_from_the_others_for_ever(sessions: Sessions) -> None:
    with sessions.begin() as session:
        make_worker(session, "alpha", cpu=1)
        make_worker(session, "beta", cpu=1)
        make_job(session)
        woken = {host for _ in range(40) for host in wakeups.due(session)}
    assert woken == {"alpha", "beta"}


def test_a_job_wakes_only_a_host_that_it_fits(sessions: Sessions) -> None:
    with sessions.begin() as session:
        make_worker(session, "alpha", cpu=2)
        make_worker(session, "beta", cpu=0, cuda=1)
        make_job(session, resources={"device": "cuda"})
        make_job(session, resources={"device": "cuda"})
        assert wakeups.due(session) == {"beta": 1}


def test_the_rest_of_a_study_wakes_the_kind_it_is_fixed_to(sessions: Sessions) -> None:
    with sessions.begin() as session:
        make_worker(session, "alpha", cpu=2)
        make_worker(session, "beta", cpu=0, cuda=2)
        make_study(session)
        acquire_job(session, "beta")
        assert wakeups.due(session) == {"beta": 1}


def test_hosts_that_drain_or_are_silent_are_not_woken(sessions: Sessions) -> None:
    with sessions.begin() as session:
        make_worker(session, "alpha")
        make_worker(session, "beta")
        leases.set_draining(session, "alpha")
        long_ago = func.now() - timedelta(hours=1)
        session.execute(update(Worker).where(Worker.host == "beta").values(seen_at=long_ago))
        make_job(session)
        assert wakeups.due(session) == {}


def test_a_job_without_its_data_wakes_nobody_but_its_datasets_job_does(sessions: Sessions) -> None:
    with sessions.begin() as session:
        make_worker(session, cpu=4)
        make_job(session, dataset=make_dataset(session, ready=False))
        assert wakeups.due(session) == {"alpha": 1}


def test_wake_ups_lie_in_the_queue_of_their_host(own_redis: Redis) -> None:
    celery = wakeups.make_celery(own_redis.url)

    assert wakeups.send(celery, {"alpha": 2, "beta": 1}) == 3

    with celery.connection_for_read() as connection:
        channel = connection.default_channel
        assert channel.client.llen("normlab.alpha") == 2
        message = channel.basic_get("normlab.beta", no_ack=True)
        assert message.headers["task"] == wakeups.TASK
    celery.close()


def test_no_wake_up_has_an_end_that_the_workers_clock_would_decide(own_redis: Redis) -> None:
    celery = wakeups.make_celery(own_redis.url)
    wakeups.send(celery, {"alpha": 1})
    with celery.connection_for_read() as connection:
        headers = connection.default_channel.basic_get("normlab.alpha", no_ack=True).headers
    assert (headers["expires"], headers["eta"]) == (None, None)
    celery.close()


def test_a_host_that_takes_no_wake_ups_is_not_buried_in_them(own_redis: Redis) -> None:
    celery = wakeups.make_celery(own_redis.url)

    assert [wakeups.send(celery, {"alpha": count}) for count in (2, 2, 1, 3)] == [2, 0, 0, 1]

    with celery.connection_for_read() as connection:
        assert connection.default_channel.client.llen("normlab.alpha") == 3
    celery.close()


def test_redis_pys_name_for_a_unix_socket_is_understood(own_redis: Redis) -> None:
    celery = wakeups.make_celery(f"unix://{own_redis.socket}")

    assert wakeups.send(celery, {"alpha": 1}) == 1
    celery.close()


def test_an_absent_broker_is_no_error(own_redis: Redis) -> None:
    celery = wakeups.make_celery(own_redis.url)
    own_redis.stop()

    begun = time.monotonic()
    assert wakeups.send(celery, {"alpha": 3}) == 0
    assert time.monotonic() - begun < 30
    celery.close()


@pytest.mark.parametrize("warm", [False, True], ids=["first use", "open connection"])
def test_a_hanging_broker_holds_the_sender_only_for_a_moment(own_redis: Redis, warm: bool) -> None:
    celery = wakeups.make_celery(own_redis.url)
    if warm:
        assert wakeups.send(celery, {"alpha": 1}) == 1
    assert own_redis.pid is not None
    os.kill(own_redis.pid, signal.SIGSTOP)

    begun = time.monotonic()
    assert wakeups.send(celery, {"alpha": 3, "beta": 3}) == 0
    assert time.monotonic() - begun < 30

    os.kill(own_redis.pid, signal.SIGCONT)
    assert wakeups.send(celery, {"gamma": 1}) == 1
    celery.close()
