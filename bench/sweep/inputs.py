"""`python -m bench.sweep.inputs FOLDER`: what the peers train on, taken from Normlab's trainer.

Images, splits, initial weights and the order of the examples: with them a plain loop takes the very steps
that Normlab takes, and stops in the same epoch.
"""

import argparse
import json
from collections.abc import Iterator
from pathlib import Path

import numpy
import torch

from bench.sweep import study
from trainer.data.loading import load
from trainer.models.build import build_model
from trainer.spec.builtin import BUILT_IN
from trainer.spec.job import JobSpec
from trainer.spec.model import Cnn, Mlp
from trainer.training.batch_order import BatchSampler


def write_inputs(folder: Path, size: study.Size, *, other_models: bool = False) -> None:
    """`other_models`: one job more of each, under its name."""
    folder.mkdir(parents=True, exist_ok=True)
    specs = {
        f"{norm}-{seed}": JobSpec.model_validate(study.job_document(norm, seed, size))
        for norm in study.NORMS
        for seed in range(size.seeds)
    }
    if other_models:
        specs |= {
            name: JobSpec.model_validate(study.job_document("batch", 0, size, model))
            for name, model in study.OTHER_MODELS.items()
        }
    arrays: dict[str, numpy.ndarray] = {}
    data = load(next(iter(specs.values())).dataset, BUILT_IN["digits"], folder / "datasets")
    for name in ("train", "val", "test"):
        split = getattr(data, name)
        arrays[f"{name}_images"] = split.images.numpy()
        arrays[f"{name}_labels"] = split.labels.numpy()
    arrays["mean"] = numpy.array(data.info.mean, dtype=numpy.float32)
    arrays["std"] = numpy.array(data.info.std, dtype=numpy.float32)
    for key, spec in specs.items():
        weights = build_model(spec, data.info).state_dict()
        arrays |= {f"{key}/{name}": value.numpy() for name, value in weights.items()}
        arrays[f"order/{spec.seed}"] = numpy.stack(list(_orders(spec, len(data.train.labels))))
    numpy.savez(folder / "data.npz", allow_pickle=False, **arrays)
    rows = [_describe(key, spec) for key, spec in specs.items()]
    (folder / "jobs.json").write_text(json.dumps(rows, indent=1))


def _orders(spec: JobSpec, examples: int) -> Iterator[numpy.ndarray]:
    """The permutation of each pass."""
    sampler = BatchSampler(spec.training, examples, spec.seed, torch.device("cpu"))
    for number in range(spec.periods):
        first = number * sampler.steps_per_pass
        steps = range(first, first + sampler.steps_per_pass)
        yield torch.cat([sampler.indices(step) for step in steps]).numpy()


def _describe(key: str, spec: JobSpec) -> dict[str, object]:
    return {
        "key": key,
        "model": spec.model.name,
        "norm": key.partition("-")[0] if isinstance(spec.model, Cnn) else "batch",
        "seed": spec.seed,
        "width": spec.model.hidden[0] if isinstance(spec.model, Mlp) else spec.model.width,
        "lr": study.LR,
        "decay": study.DECAY,
        "batch_size": study.BATCH_SIZE,
        "epochs": spec.periods,
        "patience": study.PATIENCE,
    }


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.sweep.inputs", description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--seeds", type=int, default=study.FULL.seeds)
    parser.add_argument("--epochs", type=int, default=study.FULL.epochs)
    parser.add_argument("--other-models", action="store_true")
    options = parser.parse_args()
    size = study.Size(options.seeds, options.epochs)
    write_inputs(options.folder, size, other_models=options.other_models)


if __name__ == "__main__":
    main()
