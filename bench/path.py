"""What the way through the service costs a job besides its steps: acquiring, lease, checkpoints, records.

A worker's child works off jobs of two lengths; the same trainings as a bare loop are taken off. What is left
grows with the epochs by the cost of an epoch, and begins with that of a job.
"""

import logging
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median
from types import ModuleType

import structlog
import torch

from bench.harness.figures import Figure, Section, at_most
from bench.harness.progress import say
from bench.harness.queue import Queue, make_queue
from bench.harness.turns import take_turns
from bench.sweep.inputs import write_inputs
from bench.sweep.study import Size, job_document
from worker.host.child import Child

NORM = "batch"
SHORT, LONG = 2, 12
SIZE = Size(seeds=4, epochs=LONG)
#: So small that an epoch's steps don't hide what an epoch costs besides.
WIDTH = 4

Work = Callable[[], "Turn"]


@dataclass(frozen=True, slots=True)
class Turn:
    """Of one job."""

    seconds: float
    cpu_seconds: float


@dataclass(frozen=True, slots=True)
class PathCost:
    """Seconds, besides the steps and the validations themselves."""

    per_job: float
    per_epoch: float


def measure_path(folder: Path, *, rounds: int) -> Section:
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.WARNING))
    torch.set_num_threads(1)
    write_inputs(folder / "inputs", SIZE, WIDTH)
    with make_queue(folder) as queue:
        queue.register()
        child = queue.make_child()
        train_acquired(queue, child, SHORT)
        turns = take_turns(
            {
                "bare, short": lambda: train_bare(folder / "inputs", SHORT),
                "service, short": lambda: train_acquired(queue, child, SHORT),
                "bare, long": lambda: train_bare(folder / "inputs", LONG),
                "service, long": lambda: train_acquired(queue, child, LONG),
            },
            rounds,
            lambda number, name: say(f"path, round {number + 1} of {rounds}: {name}"),
        )
    wall = separate(turns, lambda turn: turn.seconds)
    cpu = separate(turns, lambda turn: turn.cpu_seconds)
    figures = [
        Figure("per job, outside its epochs: wall", 1000 * wall.per_job, "ms", at_most(100)),
        Figure("per job, outside its epochs: CPU", 1000 * cpu.per_job, "ms"),
        Figure(
            "per epoch, besides steps and validation: wall", 1000 * wall.per_epoch, "ms", at_most(3)
        ),
        Figure("per epoch, besides steps and validation: CPU", 1000 * cpu.per_epoch, "ms"),
    ]
    rows = {name: [asdict(turn) for turn in own] for name, own in turns.items()}
    return Section("A job's way through the service", figures, rows)


def separate(turns: dict[str, list[Turn]], part: Callable[[Turn], float]) -> PathCost:
    """Medians over the rounds of what each round says."""

    def beyond(length: str) -> Sequence[float]:
        pairs = zip(turns[f"service, {length}"], turns[f"bare, {length}"], strict=True)
        return [part(service) - part(bare) for service, bare in pairs]

    short = beyond("short")
    slopes = [
        (long - brief) / (LONG - SHORT) for long, brief in zip(beyond("long"), short, strict=True)
    ]
    fixed = [brief - SHORT * slope for brief, slope in zip(short, slopes, strict=True)]
    return PathCost(median(fixed), median(slopes))


def train_acquired(queue: Queue, child: Child, epochs: int) -> Turn:
    """From their rows to their results."""
    documents = [job_document(NORM, seed, Size(1, epochs), WIDTH) for seed in range(SIZE.seeds)]
    queue.submit(documents)
    return _time(child.work)


def train_bare(inputs: Path, epochs: int) -> Turn:
    training = load_plain_training()
    loaded = training.Inputs(inputs)
    jobs = [job for job in loaded.jobs if job.norm == NORM]

    def work() -> None:
        for job in jobs:
            list(training.train(job._replace(epochs=epochs), loaded))

    return _time(work)


def load_plain_training() -> ModuleType:
    """The peers' loop; their folder is no package, since its scripts run without Normlab."""
    peers = str(Path(__file__).parent / "peers")
    if peers not in sys.path:
        sys.path.insert(0, peers)
    import training

    return training


def _time(work: Callable[[], None]) -> Turn:
    began, cpu = time.perf_counter(), time.process_time()
    work()
    return Turn(
        (time.perf_counter() - began) / SIZE.seeds, (time.process_time() - cpu) / SIZE.seeds
    )
