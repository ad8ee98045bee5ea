from pathlib import Path

from sqlalchemy import Engine, select
from sqlalchemy.orm import Session, sessionmaker

from bench.growth import RESULT, fake_trainer
from bench.harness.queue import Queue
from bench.service.start import ONE_EPOCH
from store.db import Job


def test_a_workers_child_works_the_queue_off(
    database_url: str,
    redis_url: str,
    engine: Engine,
    sessions: sessionmaker[Session],
    tmp_path: Path,
) -> None:
    """So that a change of the worker is noticed before the benchmark is run the next time."""
    queue = Queue(database_url, redis_url, tmp_path, engine, sessions)
    queue.register()
    queue.submit({**ONE_EPOCH, "seed": seed} for seed in range(2))
    with fake_trainer():
        queue.make_child().work()
    with sessions.begin() as session:
        jobs = session.scalars(select(Job)).all()
        assert [(job.status, job.metrics["test_loss"]) for job in jobs] == [
            ("succeeded", RESULT["test_loss"])
        ] * 2
