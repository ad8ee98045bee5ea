"""What one training step costs under each norm. Times the trainer as it is, and nothing around it."""

import time
from collections.abc import Generator
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

from trainer.data import load
from trainer.events import Event, Stepped, Wish
from trainer.spec import JobSpec
from trainer.spec.builtin import BUILT_IN
from trainer.train import train

NORMS: dict[str, dict[str, Any]] = {
    "none": {"kind": "none"},
    "batch": {"kind": "batch"},
    "layer": {"kind": "layer"},
    "instance": {"kind": "instance"},
    "group": {"kind": "group", "groups": 8},
}

WARM_STEPS = 20
STEPS_A_ROUND = 10

Training = Generator[Event, Wish | None, None]


@dataclass(frozen=True, slots=True)
class StepCost:
    """Medians over the rounds; `ratio` is the median of each round's ratio to `none`."""

    norm: str
    milliseconds: float
    ratio: float


def measure_steps(folder: Path, *, rounds: int) -> list[StepCost]:
    """All trainings take turns of a few steps, so that what else the machine does hits all alike."""
    steps = WARM_STEPS + rounds * STEPS_A_ROUND + 1
    trainings = {norm: _start(norm, folder, steps) for norm in NORMS}
    for training in trainings.values():
        _advance(training, WARM_STEPS)
    turns = [
        {norm: _advance(training, STEPS_A_ROUND) for norm, training in trainings.items()}
        for _ in range(rounds)
    ]
    for training in trainings.values():
        training.close()
    return [
        StepCost(
            norm,
            1000 * median(turn[norm] for turn in turns),
            median(turn[norm] / turn["none"] for turn in turns),
        )
        for norm in NORMS
    ]


def _start(norm: str, folder: Path, steps: int) -> Training:
    spec = JobSpec.model_validate(
        {
            "dataset": {"name": "digits"},
            "model": {"name": "cnn", "width": 32},
            "norm": NORMS[norm],
            "training": {"steps": steps, "eval_every": steps, "checkpoint_seconds": 3600.0},
        }
    )
    data = load(spec.dataset, BUILT_IN["digits"], folder / "datasets")
    return train(spec, data, folder / norm / "attempt-1")


def _advance(training: Training, steps: int) -> float:
    """Seconds a step."""
    began = time.perf_counter()
    for _ in range(steps):
        while not isinstance(next(training), Stepped):
            pass
    return (time.perf_counter() - began) / steps
