"""The sweep itself: the study that Normlab is sent, and the jobs that it consists of. No torch."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

NORMS: dict[str, dict[str, Any]] = {
    "none": {"kind": "none"},
    "batch": {"kind": "batch"},
    "layer": {"kind": "layer"},
    "group": {"kind": "group", "groups": 8},
}
PROJECT = "bench"
CNN: Mapping[str, Any] = {"name": "cnn", "width": 32}
#: Whose steps are compared besides, under batch norm.
OTHER_MODELS: Mapping[str, Mapping[str, Any]] = {
    "mlp": {"name": "mlp", "hidden": [100, 100, 100]},
    "resnet20": {"name": "resnet20", "width": 16},
}
BATCH_SIZE = 64
LR = 0.05
DECAY = 5e-4
PATIENCE = 5
#: Two workers of one thread each.
WORKERS = 2


@dataclass(frozen=True, slots=True)
class Size:
    """`FULL` is what the goals are about; a smaller one tries the harness out."""

    seeds: int
    epochs: int

    @property
    def jobs(self) -> int:
        return self.seeds * len(NORMS)


FULL = Size(seeds=3, epochs=15)
SMALL = Size(seeds=1, epochs=2)


def study_document(size: Size, name: str, model: Mapping[str, Any] = CNN) -> dict[str, Any]:
    return {
        "version": 1,
        "project": PROJECT,
        "name": name,
        "base": {
            "dataset": {"name": "digits"},
            "model": dict(model),
            "regularization": [{"kind": "weight_decay", "value": DECAY}],
            "optimizer": {"kind": "sgd", "lr": LR, "momentum": 0.9},
            "training": {"epochs": size.epochs, "batch_size": BATCH_SIZE},
            "early_stopping": {"kind": "patience", "patience": PATIENCE},
        },
        "variants": {name: {"norm": norm} for name, norm in NORMS.items()},
        "seeds": size.seeds,
        "baseline": "none",
    }


def job_document(
    norm: str, seed: int, size: Size, model: Mapping[str, Any] = CNN
) -> dict[str, Any]:
    study = study_document(size, "", model)
    base: dict[str, Any] = study["base"]
    return {"version": 1, "project": PROJECT, **base, "norm": NORMS[norm], "seed": seed}
