"""`python -m worker.health`, as an orchestrator asks it."""

import os
import subprocess
import sys
from datetime import timedelta

from sqlalchemy import func, update
from sqlalchemy.orm import Session, sessionmaker

from store.db.models import Worker
from store.jobs import leases
from worker.health import is_alive

#: `python -m worker.health`, which then says whether it has loaded torch.
AS_COMMAND = """
import runpy, sys
try:
    runpy.run_module("worker.health", run_name="__main__", alter_sys=True)
finally:
    print("torch:", "torch" in sys.modules)
"""


def test_a_registered_worker_is_alive_until_it_falls_silent(
    sessions: sessionmaker[Session],
) -> None:
    with sessions.begin() as session:
        assert not is_alive(session, "here", "")
        leases.register_worker(session, "here", 1, [("cpu", 0, "cpu", 1)])
        assert is_alive(session, "here", "")
        assert not is_alive(session, "elsewhere", "")
        session.execute(update(Worker).values(seen_at=func.now() - timedelta(days=1)))
        assert not is_alive(session, "here", "")


def test_of_numbered_workers_the_one_beside_the_asker_counts(
    sessions: sessionmaker[Session],
) -> None:
    with sessions.begin() as session:
        instance = leases.Instance("1", 1, "machine", "this container")
        leases.register_worker(session, "here-1", 1, [("cpu", 0, "cpu", 1)], instance)
        assert is_alive(session, "here-{n}", "this container")
        assert not is_alive(session, "here-{n}", "another container")
        session.execute(update(Worker).values(seen_at=func.now() - timedelta(days=1)))
        assert not is_alive(session, "here-{n}", "this container")


def test_the_command_fails_for_a_host_without_a_worker_and_loads_no_torch(
    worker_database_url: str, redis_url: str
) -> None:
    environment = os.environ | {
        "NORMLAB_DATABASE_URL": worker_database_url,
        "NORMLAB_REDIS_URL": redis_url,
        "NORMLAB_STORAGE": "/nowhere",
        "NORMLAB_HOST_NAME": "nobody",
    }
    done = subprocess.run(
        [sys.executable, "-c", AS_COMMAND],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stderr, done.stdout) == (1, "", "torch: False\n")
