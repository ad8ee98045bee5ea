"""What the hot statements read beside a long history: counts and plans, never times."""

import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from datetime import datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import Connection, Engine, event, text
from sqlalchemy.orm import Session, sessionmaker

from bench.harness import history
from store.jobs import commands, leases, limits, maintenance, queue, wakeups
from store.mlflow import exports
from tests.support.factories import acquire_job, make_worker
from trainer.events import EpochFinished

Plan = list[Mapping[str, Any]]

#: Tables that grow with every job there ever was.
GROWING = {"jobs", "attempts", "epochs", "transitions", "checkpoints", "mirrored"}
OWNERS = 4
CHECKPOINTS_PER_JOB = 20
CHECKPOINTS = f"""
    INSERT INTO checkpoints (job_id, attempt, kind, epoch, step, path, digest, bytes)
    SELECT id, 1, 'last', number, number, 'jobs/' || id || '/' || number, 'digest', 1
    FROM jobs, generate_series(1, {CHECKPOINTS_PER_JOB}) AS number WHERE status = 'succeeded'
"""


@contextmanager
def explaining(engine: Engine) -> Iterator[tuple[list[Plan], list[Plan]]]:
    """The nodes of the plan of each statement that is executed meanwhile, with the rows that they yielded; and
    those of its plan for any values."""
    plans: list[Plan] = []
    for_any_values: list[Plan] = []

    def explain(
        connection: Connection, cursor: Any, sql: str, parameters: Any, context: Any, many: bool
    ) -> None:
        # Just before it is executed, when it finds what it will find; then undone.
        beside = connection.connection.cursor()
        beside.execute("SAVEPOINT explained")
        beside.execute(f"EXPLAIN (ANALYZE, FORMAT JSON) {sql}", parameters)
        (answer,) = beside.fetchone() or ()
        beside.execute("ROLLBACK TO SAVEPOINT explained")
        plans.append(list(nodes(answer[0]["Plan"])))
        # Once it has been prepared a statement may be planned for any values instead of these.
        beside.execute(f"EXPLAIN (GENERIC_PLAN, FORMAT JSON) {numbered(sql, parameters)}")
        (answer,) = beside.fetchone() or ()
        for_any_values.append(list(nodes(answer[0]["Plan"])))

    event.listen(engine, "before_cursor_execute", explain)
    try:
        yield plans, for_any_values
    finally:
        event.remove(engine, "before_cursor_execute", explain)


@pytest.fixture
def filled(sessions: sessionmaker[Session], engine: Engine) -> sessionmaker[Session]:
    """1,500 ended jobs that the statistics know of, and 200 queued ones that they don't: a study just came."""
    history.fill(engine, jobs=1500, queued=0, epochs_per_job=2, owners=OWNERS)
    history.fill(engine, jobs=0, queued=200, owners=OWNERS, analyze=False)
    with sessions.begin() as session:
        make_worker(session, cpu=2)
    return sessions


def numbered(sql: str, parameters: Mapping[str, Any]) -> str:
    """With $1 for the first parameter, as PostgreSQL wants it, and the types that psycopg would send."""
    types = {float: "::float8", timedelta: "::interval", datetime: "::timestamptz"}
    numbers = {name: f"${number}" for number, name in enumerate(parameters, start=1)}
    return re.sub(
        r"%\((\w+)\)s",
        lambda found: numbers[found[1]] + types.get(type(parameters[found[1]]), ""),
        sql,
    )


def nodes(plan: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    yield plan
    for child in plan.get("Plans", ()):
        yield from nodes(child)


def rows_read(plan: Plan) -> float:
    """Rows of growing tables, those that a filter removed included."""
    return sum(
        node["Actual Loops"] * (node["Actual Rows"] + node.get("Rows Removed by Filter", 0))
        for node in plan
        if node.get("Relation Name") in GROWING
    )


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
