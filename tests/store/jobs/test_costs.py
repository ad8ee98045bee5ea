"""What the hot statements read beside a long history: counts and plans, never times."""

from collections.abc import Callable
from typing import Any

import pytest
from sqlalchemy import Engine, text
from sqlalchemy.orm import Session, sessionmaker

from bench.harness import history
from store.hosts import GpuMemory, gpu_memory
from store.jobs import commands, leases, limits, maintenance, queue, wakeups
from store.mlflow import exports
from tests.support.factories import acquire_job, make_worker
from tests.support.plans import GROWING, explaining, rows_read
from trainer.events import EpochFinished

OWNERS = 4
CHECKPOINTS_PER_JOB = 20
CHECKPOINTS = f"""
    INSERT INTO checkpoints (job_id, attempt, kind, epoch, step, path, digest, bytes)
    SELECT id, 1, 'last', number, number, 'jobs/' || id || '/' || number, 'digest', 1
    FROM jobs, generate_series(1, {CHECKPOINTS_PER_JOB}) AS number WHERE status = 'succeeded'
"""

TOTAL = 10**10
FOOTPRINTS = f"""
    INSERT INTO footprints (shape, device, memory_bytes)
    SELECT DISTINCT shape, 'a GPU', {TOTAL} FROM jobs WHERE status = 'queued'
"""


@pytest.fixture
def filled(sessions: sessionmaker[Session], engine: Engine) -> sessionmaker[Session]:
    """1,500 ended jobs that the statistics know of, and 200 queued ones that they don't: a study just came."""
    history.fill(engine, jobs=1500, queued=0, epochs_per_job=2, owners=OWNERS)
    history.fill(engine, jobs=0, queued=200, owners=OWNERS, analyze=False)
    with sessions.begin() as session:
        make_worker(session, cpu=2)
    return sessions


def test_no_statement_on_a_jobs_way_reads_the_history(
    filled: sessionmaker[Session], engine: Engine
) -> None:
    counts: dict[str, int] = {}
    read: dict[str, float] = {}

    def run(name: str, action: Callable[[Session], object]) -> Any:
        with filled.begin() as session, explaining(engine) as (plans, for_any_values):
            answer = action(session)
        counts[name] = len(plans)
        for plan in (*plans, *for_any_values):
            scanned = {
                node["Relation Name"] for node in plan if node["Node Type"] == "Seq Scan"
            } & GROWING
            assert not scanned, f"{name} reads all of {scanned}"
        read[name] = max(map(rows_read, plans))
        return answer

    run("first acquire", acquire_job)
    first = run("acquire", acquire_job)
    job, attempt = first.job_id, first.attempt
    epoch = EpochFinished(epoch=1, step=23, metrics={"train_loss": 0.5}, best=True, seconds=0.1)
    run("renew", lambda session: commands.renew(session, job, attempt, 60.0, 1.0))
    run("record_epoch", lambda session: commands.record_epoch(session, job, attempt, epoch))
    run("queue", queue.waiting)
    run("running", queue.running)
    run("open attempts", lambda session: maintenance.open_attempts(session, "alpha"))
    run("nothing is due", wakeups.due)
    run("load", exports.read_load)
    run("sweep", leases.release_expired)
    run("finish", lambda session: commands.finish(session, job, attempt, reason="completed"))
    run("something is due", wakeups.due)

    # The second job's study gets its numerics, too: its models and norms are read once, and its row is written.
    assert counts["acquire"] <= 10
    assert counts["renew"] <= 5
    assert counts["record_epoch"] <= 4
    # One of them looks for queued jobs that this one answers.
    assert counts["finish"] <= 10
    for name in ("queue", "running", "open attempts", "nothing is due", "load", "sweep"):
        assert counts[name] == 1
    # The heads of the lines, found twice: as lines and as jobs.
    assert read["acquire"] <= 4 * OWNERS
    assert max(read[name] for name in ("renew", "record_epoch", "finish")) <= 2


def test_the_paths_of_a_few_jobs_are_found_without_reading_all_of_them(
    filled: sessionmaker[Session], engine: Engine
) -> None:
    with engine.begin() as connection:
        connection.execute(text(CHECKPOINTS))
        connection.execute(text("ANALYZE checkpoints"))
    with filled.begin() as session:
        job_ids = session.scalars(text("SELECT job_id FROM checkpoints LIMIT 1")).all()
        with explaining(engine) as (plans, for_any_values):
            assert len(maintenance.named_paths(session, job_ids)) == CHECKPOINTS_PER_JOB
    for plan in (*plans, *for_any_values):
        assert "Seq Scan" not in {
            node["Node Type"] for node in plan if node.get("Relation Name") == "checkpoints"
        }
    assert max(map(rows_read, plans)) <= 2 * CHECKPOINTS_PER_JOB


def test_who_has_reached_a_limit_costs_an_acquisition_no_search(
    filled: sessionmaker[Session], engine: Engine
) -> None:
    with filled.begin() as session:
        limits.change(session, "member", {"running": 0})
        with explaining(engine) as (plans, _):
            assert acquire_job(session) is None
        with explaining(engine) as (plans_of_wakeups, _):
            assert wakeups.due(session) == {}
    # The heads of the lines as such; no job of theirs.
    assert max(map(rows_read, plans)) <= 2 * OWNERS
    # For each kind of device and for any.
    assert max(map(rows_read, plans_of_wakeups)) <= 4 * OWNERS


def test_jobs_that_do_not_fit_cost_an_acquisition_no_walk_along_their_lines(
    filled: sessionmaker[Session], engine: Engine
) -> None:
    with filled.begin() as session:
        assert acquire_job(session) is not None
        # What is free of the CPU is not all of it.
        session.execute(text("UPDATE jobs SET exclusive = true WHERE status = 'queued'"))
        with explaining(engine) as (plans, _):
            assert acquire_job(session) is None
    # The heads of the lines as such.
    assert max(map(rows_read, plans)) <= 2 * OWNERS
    with filled.begin() as session:
        session.execute(text("UPDATE jobs SET exclusive = seed % 2 = 0 WHERE status = 'queued'"))
        session.execute(text(FOOTPRINTS))
        leases.register_worker(session, "beta", 1, [("cuda", 0, "a GPU", 4)], memory={0: 2 * TOTAL})
        gpu_memory.report(session, "beta", [GpuMemory(0, 2 * TOTAL, TOTAL + 1, 0)])
        with explaining(engine) as (plans, _):
            assert acquire_job(session, "beta") is None
    # Of each owner's two lines: as such, by shape, and the first job's shape; no job for itself.
    assert max(map(rows_read, plans)) <= 2 * OWNERS * 6
