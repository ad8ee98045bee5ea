"""What one training step costs under each norm. Times the trainer as it is, and nothing around it."""

import time
from collections.abc import Generator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any

from bench.harness.turns import median_ratio, take_turns
from trainer.data.loading import load
from trainer.events import Event, Stepped, StopRequest
from trainer.spec.builtin import BUILT_IN
from trainer.spec.job import JobSpec
from trainer.training.loop import train

NORMS: dict[str, dict[str, Any]] = {
    "none": {"kind": "none"},
    "batch": {"kind": "batch"},
    "layer": {"kind": "layer"},
    "instance": {"kind": "instance"},
    "group": {"kind": "group", "groups": 8},
    "layer, channels": {"kind": "layer", "axes": "channels"},
    "rms": {"kind": "rms"},
    "lrn": {"kind": "lrn"},
    "lrn, space": {"kind": "lrn", "across": "space"},
    "ghost_batch": {"kind": "ghost_batch", "virtual_batch_size": 16},
    "batch_renorm": {"kind": "batch_renorm"},
    "filter_response": {"kind": "filter_response"},
    "evonorm B0": {"kind": "evonorm", "form": "B0"},
    "evonorm S0": {"kind": "evonorm", "form": "S0"},
    "dynamic_tanh": {"kind": "dynamic_tanh"},
    "derf": {"kind": "derf"},
}

WARM_STEPS = 20
STEPS_A_ROUND = 10

Training = Generator[Event, StopRequest | None, None]


@dataclass(frozen=True, slots=True)
class StepCost:
    """Medians over the rounds; `ratio` is the median of each round's ratio to `none`."""

    norm: str
    milliseconds: float
    ratio: float


def measure_steps(folder: Path, *, rounds: int) -> list[StepCost]:
    """All trainings take turns of a few steps."""
    steps = WARM_STEPS + rounds * STEPS_A_ROUND + 1
    trainings = {norm: _start(norm, folder, steps) for norm in NORMS}
    for training in trainings.values():
        advance(training, WARM_STEPS)
    turns = take_turns(
        {norm: partial(advance, training, STEPS_A_ROUND) for norm, training in trainings.items()},
        rounds,
    )
    for training in trainings.values():
        training.close()
    return [
        StepCost(
            norm,
            1000 * median(turns[norm]),
            median_ratio(turns[norm], turns["none"]),
        )
        for norm in NORMS
    ]


def _start(norm: str, folder: Path, steps: int) -> Training:
    training = {"steps": steps, "eval_every": steps, "checkpoint_seconds": 3600.0}
    return start_training(folder / norm, folder, norm=NORMS[norm], training=training)


def start_training(job_folder: Path, folder: Path, **changes: Any) -> Training:
    """The CNN on digits; data is decoded under `folder`."""
    document = {
        "dataset": {"name": "digits"},
        "model": {"name": "cnn", "width": 32},
        "norm": {"kind": "batch"},
        **changes,
    }
    spec = JobSpec.model_validate(document)
    data = load(spec.dataset, BUILT_IN["digits"], folder / "datasets")
    return train(spec, data, job_folder / "attempt-1")


def advance(training: Training, steps: int) -> float:
    """Seconds a step."""
    began = time.perf_counter()
    for _ in range(steps):
        while not isinstance(next(training), Stepped):
            pass
    return (time.perf_counter() - began) / steps
