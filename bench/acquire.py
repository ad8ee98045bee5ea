"""What acquiring a job costs beside a long history and queue: many workers that acquire, work for a while, and end.

By itself: `python -m bench.acquire --jobs 100000 --queued 1000 --workers 16`. `measure_acquire` takes any database
that `bench.harness.history` has filled.
"""

import argparse
import gc
import multiprocessing
import os
import random
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from sqlalchemy import Engine

from bench.harness import history
from bench.harness.database import make_database
from store.db.engine import make_engine, make_sessions
from store.jobs import commands, leases
from trainer.spec.job import Numerics

HOST = "bench"
#: The first makes the connection and compiles the statements, the fifth prepares them.
WARM_UP = 6


@dataclass(frozen=True, slots=True)
class AcquireCost:
    """Milliseconds from the start of each acquisition to its commit, in ascending order, and the CPU milliseconds
    of the worker's own process for one acquisition and one end."""

    milliseconds: Sequence[float]
    cpu_milliseconds: float

    def quantile(self, share: float) -> float:
        return self.milliseconds[
            min(len(self.milliseconds) - 1, int(share * len(self.milliseconds)))
        ]


def measure_acquire(
    url: str, *, workers: int = 16, each: int = 20, work_seconds: float = 1.0
) -> AcquireCost:
    """`each`: how many jobs a worker takes, one after the other, with about `work_seconds` of sleep for each. As many
    are queued first, so that the queue stays as long."""
    engine = make_engine(url)
    history.fill(engine, jobs=0, queued=workers * (WARM_UP + each), analyze=False)
    with make_sessions(engine).begin() as session:
        leases.register_worker(session, HOST, os.getpid(), [("cpu", 0, "bench", workers)])
    engine.dispose()
    # As a worker does before it forks its children.
    gc.collect()
    gc.freeze()
    context = multiprocessing.get_context("fork")
    with context.Pool(workers) as pool:
        tasks = [(url, each, work_seconds, number) for number in range(workers)]
        answers = pool.starmap(_work, tasks, chunksize=1)
    return AcquireCost(
        sorted(one for milliseconds, _ in answers for one in milliseconds),
        sum(cpu for _, cpu in answers) / len(answers),
    )


def _work(url: str, each: int, work_seconds: float, number: int) -> tuple[list[float], float]:
    engine = make_engine(url, pool_size=1)
    # Not all at the same moment: jobs don't take equally long.
    draw = random.Random(number)  # noqa: S311
    lengths = [work_seconds * draw.uniform(0.5, 1.5) for _ in range(WARM_UP + each)]
    for seconds in lengths[:WARM_UP]:
        _take_one(engine, seconds)
    began_cpu = time.process_time()
    taken = [_take_one(engine, seconds) for seconds in lengths[WARM_UP:]]
    cpu = 1000 * (time.process_time() - began_cpu) / max(1, each)
    engine.dispose()
    return [one for one in taken if one is not None], cpu


def _take_one(engine: Engine, work_seconds: float) -> float | None:
    sessions = make_sessions(engine)
    began = time.perf_counter()
    with sessions.begin() as session:
        assignment = commands.acquire(
            session, HOST, os.getpid(), lease_seconds=90.0, numerics=lambda device: Numerics()
        )
    milliseconds = 1000 * (time.perf_counter() - began)
    time.sleep(work_seconds)
    if not isinstance(assignment, commands.Assignment):
        return None
    with sessions.begin() as session:
        job, attempt = assignment.job_id, assignment.attempt
        commands.finish(session, job, attempt, reason="completed", seconds_used=work_seconds)
    return milliseconds


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.acquire", description=__doc__)
    parser.add_argument("--jobs", type=int, default=100_000, help="that have ended (%(default)s)")
    parser.add_argument("--queued", type=int, default=1000, help="(%(default)s)")
    parser.add_argument("--workers", type=int, default=16, help="(%(default)s)")
    options = parser.parse_args()
    with (
        tempfile.TemporaryDirectory(prefix="normlab-bench-") as folder,
        make_database(Path(folder)) as (server, engine),
    ):
        history.fill(engine, jobs=options.jobs, queued=options.queued, epochs_per_job=1)
        # No connection of ours may be used in a child.
        engine.dispose()
        cost = measure_acquire(server.url("bench"), workers=options.workers)
    print(f"{options.jobs} ended jobs, {options.queued} queued, {options.workers} workers")
    print(
        f"  an acquisition: median {cost.quantile(0.5):.1f} ms, 99 % {cost.quantile(0.99):.1f} ms"
    )
    print(f"  CPU of the worker for it and its end: {cost.cpu_milliseconds:.1f} ms")


if __name__ == "__main__":
    main()
