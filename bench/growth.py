"""`python -m bench.growth`: how the service's cost per job grows with jobs, with workers, and with history.

The training is a fake one that sleeps for 10 ms and ends, so that what is left is the service: acquiring, the
lease, records, the end. Writes a figure (PNG) and its numbers (JSON).
"""

import argparse
import json
import logging
import multiprocessing
import os
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any
from unittest import mock

import structlog

from bench.harness import history
from bench.harness.machine import describe_machine
from bench.harness.process_tree import adopt_orphans, cpu_seconds
from bench.harness.progress import say
from bench.harness.queue import Queue, make_queue
from bench.service.start import ONE_EPOCH
from trainer.events import EpochFinished, Event, Finished, Started, Stepped
from worker.execution import Drain
from worker.host.child import Child
from worker.settings import Settings

WORK_SECONDS = 0.01
PATIENCE_SECONDS = 300.0
JOBS = (10, 100, 1000, 10_000)
WORKERS = (1, 2, 4, 8, 16)
HISTORY = (0, 1000, 10_000, 100_000)
#: What does not grow, where something else does.
USUAL_JOBS, USUAL_WORKERS = 200, 2

METRICS = {
    "train_loss": 1.0, "train_cost": 1.0, "train_accuracy": 0.5,
    "val_loss": 1.0, "val_accuracy": 0.5, "learning_rate": 0.1,
}  # fmt: skip
RESULT = {"epochs": 1, "steps": 1, "best_epoch": 1, "best_val_loss": 1.0, "best_val_accuracy": 0.5,
          "test_loss": 1.0, "test_accuracy": 0.5}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Point:
    """`per_job_milliseconds`: wall time × workers ÷ jobs, without the training; CPU: of the workers and of
    PostgreSQL and Redis."""

    jobs: int
    workers: int
    history: int
    seconds: float
    per_job_milliseconds: float
    cpu_milliseconds: float


def measure_growth(
    folder: Path,
    jobs: Sequence[int] = JOBS,
    workers: Sequence[int] = WORKERS,
    past: Sequence[int] = HISTORY,
) -> dict[str, list[Point]]:
    """Each curve begins with an empty database; history grows in one."""
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.ERROR))
    adopt_orphans()
    points: dict[str, list[Point]] = {"jobs": [], "workers": [], "history": []}
    for count in jobs:
        with make_queue(folder / f"jobs-{count}") as queue:
            points["jobs"].append(run_jobs(queue, count, USUAL_WORKERS, 0))
    for count in workers:
        with make_queue(folder / f"workers-{count}") as queue:
            points["workers"].append(run_jobs(queue, USUAL_JOBS, count, 0))
    with make_queue(folder / "history") as queue:
        reached = 0
        for count in past:
            if count > reached:
                say(f"history: filling up to {count} jobs")
                history.fill(queue.engine, jobs=count - reached, queued=0)
                reached = count
            points["history"].append(run_jobs(queue, USUAL_JOBS, USUAL_WORKERS, count))
    return points


def run_jobs(queue: Queue, jobs: int, workers: int, past: int) -> Point:
    """All of them queued at once; the workers' imports and connections are made before the clock."""
    queue.register(slots=workers)
    queue.submit({**ONE_EPOCH, "seed": seed} for seed in range(workers))
    context = multiprocessing.get_context("fork")
    # No connection of ours may be used in a child.
    queue.engine.dispose()
    # Whoever waits longer for a worker that failed raises.
    ready, go = (context.Barrier(workers + 1, timeout=PATIENCE_SECONDS) for _ in range(2))
    processes = [
        context.Process(target=_work, args=(queue.settings(), ready, go)) for _ in range(workers)
    ]
    for process in processes:
        process.start()
    ready.wait()
    queue.submit({**ONE_EPOCH, "seed": workers + seed} for seed in range(jobs))
    before, began = cpu_seconds(), time.perf_counter()
    go.wait()
    for process in processes:
        process.join()
    seconds, cpu = time.perf_counter() - began, cpu_seconds() - before
    if any(process.exitcode for process in processes):
        raise RuntimeError("a worker failed; its traceback is above")
    per_job = seconds * workers / jobs - WORK_SECONDS
    say(f"{jobs} jobs, {workers} workers, history {past}: {1000 * per_job:.1f} ms a job")
    return Point(jobs, workers, past, seconds, 1000 * per_job, 1000 * cpu / jobs)


def _work(settings: Settings, ready: Any, go: Any) -> None:
    with fake_trainer():
        child = Child(settings, Drain(), os.getppid())
        child.work()
        ready.wait()
        go.wait()
        child.work()


@contextmanager
def fake_trainer() -> Iterator[None]:
    """Jobs that are executed inside load no data and train nothing."""
    with (
        mock.patch("worker.execution.training.train", fake_training),
        mock.patch("worker.host.child.load", return_value=None),
    ):
        yield


def fake_training(*_: Any, **__: Any) -> Iterator[Event]:
    """What a training of one step and one epoch yields, without checkpoints."""
    yield Started(first_step=0, epoch=0, total_steps=1, parameters=1)
    time.sleep(WORK_SECONDS)
    yield Stepped(1)
    yield EpochFinished(1, 1, METRICS, best=True, seconds=WORK_SECONDS)
    yield Finished("completed", RESULT)


def draw(points: dict[str, list[Point]], path: Path) -> None:
    import matplotlib

    matplotlib.use("agg")
    from matplotlib import pyplot

    labels = {"jobs": "jobs in the queue", "workers": "workers", "history": "jobs that have ended"}
    figure, axes = pyplot.subplots(1, 3, figsize=(12, 3.6), sharey=True, layout="constrained")
    for axis, (name, label) in zip(axes, labels.items(), strict=True):
        xs = [getattr(point, name) for point in points[name]]
        axis.plot(xs, [one.per_job_milliseconds for one in points[name]], "o-", label="wall")
        axis.plot(xs, [one.cpu_milliseconds for one in points[name]], "s--", label="CPU")
        axis.set_xscale("symlog", linthresh=min((x for x in xs if x), default=1))
        axis.set_xticks(xs, [f"{x:,}" for x in xs])
        axis.minorticks_off()
        axis.set_xlabel(label)
        axis.grid(alpha=0.3)
    axes[0].set_ylabel("ms per job, without the training")
    axes[0].set_ylim(bottom=0)
    axes[0].legend()
    figure.savefig(path, dpi=150)
    pyplot.close(figure)


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.growth", description=__doc__)
    for name, values in (("jobs", JOBS), ("workers", WORKERS), ("history", HISTORY)):
        parser.add_argument(f"--{name}", type=int, nargs="*", default=values, metavar="N",
                            help="(%(default)s)")  # fmt: skip
    parser.add_argument("--output", type=Path, default=Path("bench-growth"), metavar="PATH",
                        help="PATH.png and PATH.json (%(default)s)")  # fmt: skip
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="normlab-bench-") as folder:
        points = measure_growth(Path(folder), options.jobs, options.workers, options.history)
    document = {
        "machine": describe_machine(),
        **{name: [asdict(point) for point in own] for name, own in points.items()},
    }
    options.output.with_suffix(".json").write_text(json.dumps(document, indent=1) + "\n")
    draw(points, options.output.with_suffix(".png"))
    say(f"wrote {options.output}.json and {options.output}.png")


if __name__ == "__main__":
    main()
