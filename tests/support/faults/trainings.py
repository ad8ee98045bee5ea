"""What is trained while a stack is broken, and how much of it."""

import os
from dataclasses import dataclass
from typing import Any, Self


@dataclass(frozen=True, slots=True)
class Scale:
    """How much is done: by `make test` one small round, by `make test-faults` several with dozens of jobs.

    `together`: faults of a kind share their jobs.
    """

    is_small: bool
    together: bool
    rounds: int
    jobs: int
    frozen_seconds: float
    away_seconds: float

    @classmethod
    def from_environment(cls) -> Self:
        rounds = int(os.environ.get("NORMLAB_FAULT_ROUNDS", "0"))
        jobs = int(os.environ.get("NORMLAB_FAULT_JOBS", "24" if rounds else "3"))
        together = not os.environ.get("NORMLAB_FAULT_ALONE")
        seconds = (20.0, 60.0) if rounds else (3.0, 1.0)
        return cls(rounds == 0, together, max(rounds, 1), jobs, *seconds)


SCALE = Scale.from_environment()
LEASE_SECONDS = 10.0
SETTINGS = {
    "NORMLAB_CPU_SLOTS": "2",
    "NORMLAB_LEASE_SECONDS": f"{LEASE_SECONDS:g}",
    "NORMLAB_HEARTBEAT_SECONDS": "0.5",
    "NORMLAB_SWEEP_SECONDS": "1",
    # A busy machine takes a step in this time, too.
    "NORMLAB_STALL_SECONDS": "12",
    # A disk that is full on purpose shall be noticed by the jobs, not before them.
    "NORMLAB_MIN_FREE_MB": "0",
}

PEOPLE = ("ada", "ben", "cleo")
#: So many trainings differ; with the same seed they end alike, however often they were interrupted.
SEEDS = 3
#: Of the very first training, whose time says how many epochs take `TRAINING_SECONDS`.
FEW_EPOCHS = 20
#: Long enough to be hit in the middle on a fast machine, too: `normlab down` alone takes a second.
TRAINING_SECONDS = 6.0
#: Several faults may hit the same job.
TRIES = 10
_SAVED = {"checkpoint_seconds": 0.3}
#: Without a number of epochs, which a scene adds.
SPEC: dict[str, Any] = {
    "project": "faults",
    "dataset": {"name": "digits", "train_size": 400},
    "model": {"name": "mlp", "hidden": [16]},
    "norm": {"kind": "batch"},
    "regularization": [{"kind": "dropout", "p": 0.1}],
    "optimizer": {"kind": "sgd", "lr": 0.01, "momentum": 0.9},
    "training": {"batch_size": 16, **_SAVED},
    "resources": {"device": "cpu", "max_attempts": TRIES},
}
#: By a process for each slot.
ON_TWO_SLOTS = {
    **SPEC,
    "training": {"batch_size": 32, **_SAVED},
    "resources": {"device": "cpu", "devices": 2, "max_attempts": TRIES},
}
