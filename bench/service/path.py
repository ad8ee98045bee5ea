"""What the way through the service costs a job besides its steps: acquiring, lease, checkpoints, records.

A worker's child works off jobs of two lengths; what the steps and the validations of the same trainings take by
themselves is taken off. What is left grows with the epochs by the cost of an epoch, and begins with that of a job.
"""

import logging
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median
from typing import Any

import structlog
import torch

from bench.harness.figures import Figure, Section, at_most
from bench.harness.progress import say
from bench.harness.queue import Queue, make_queue
from bench.harness.turns import take_turns
from bench.sweep.study import Size, job_document
from trainer.data.loading import load
from trainer.events import EpochFinished, Progressed, Stepped
from trainer.spec.builtin import BUILT_IN
from trainer.spec.job import JobSpec
from trainer.training.loop import train
from worker.host.child import Child

JOBS = 4
SHORT, LONG = 2, 12
#: So small that an epoch's steps don't hide what an epoch costs besides.
MODEL: Mapping[str, Any] = {"name": "cnn", "width": 4}


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
    with make_queue(folder) as queue:
        queue.register()
        child = queue.make_child()
        train_acquired(queue, child, SHORT)
        turns = take_turns(
            {
                "alone, short": lambda: train_alone(folder / "alone", SHORT),
                "service, short": lambda: train_acquired(queue, child, SHORT),
                "alone, long": lambda: train_alone(folder / "alone", LONG),
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
        pairs = zip(turns[f"service, {length}"], turns[f"alone, {length}"], strict=True)
        return [part(service) - part(alone) for service, alone in pairs]

    short = beyond("short")
    slopes = [
        (long - brief) / (LONG - SHORT) for long, brief in zip(beyond("long"), short, strict=True)
    ]
    fixed = [brief - SHORT * slope for brief, slope in zip(short, slopes, strict=True)]
    return PathCost(median(fixed), median(slopes))


def train_acquired(queue: Queue, child: Child, epochs: int) -> Turn:
    """From their rows to their results."""
    queue.submit(_document(seed, epochs) for seed in range(JOBS))
    return _time(child.work)


def train_alone(folder: Path, epochs: int) -> Turn:
    """Only what the steps and the validations of the same jobs take, in the trainer by itself."""
    seconds, cpu = 0.0, 0.0
    for number in range(JOBS):
        spec = JobSpec.model_validate(_document(number, epochs))
        data = load(spec.dataset, BUILT_IN["digits"], folder / "datasets")
        events = train(spec, data, folder / f"{time.time_ns()}" / "attempt-1")
        while True:
            began, began_cpu = time.perf_counter(), time.process_time()
            if (event := next(events, None)) is None:
                break
            if isinstance(event, Stepped | Progressed | EpochFinished):
                seconds += time.perf_counter() - began
                cpu += time.process_time() - began_cpu
    return Turn(seconds / JOBS, cpu / JOBS)


def _document(seed: int, epochs: int) -> dict[str, Any]:
    return job_document("batch", seed, Size(1, epochs), MODEL)


def _time(work: Callable[[], None]) -> Turn:
    began, cpu = time.perf_counter(), time.process_time()
    work()
    return Turn((time.perf_counter() - began) / JOBS, (time.process_time() - cpu) / JOBS)
