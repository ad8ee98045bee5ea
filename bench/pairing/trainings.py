"""The trainings whose scores are compared: arms that differ in their norm, each with many seeds."""

import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, TypeAlias

from bench.pairing.global_seed import one_global_seed
from trainer.data import Data, decode, load
from trainer.events import Finished
from trainer.spec import BUILT_IN, DatasetInfo, JobSpec, Parquet
from trainer.training import train

Scheme: TypeAlias = Literal["streams", "global"]
SCHEMES: tuple[Scheme, ...] = ("streams", "global")
NORMS: Mapping[str, Mapping[str, Any]] = {
    "none": {"kind": "none"},
    "batch": {"kind": "batch"},
    "layer": {"kind": "layer"},
    "group": {"kind": "group", "groups": 4},
    "instance": {"kind": "instance"},
}
METRICS = ("test_accuracy", "test_loss")


@dataclass(frozen=True, slots=True)
class Setting:
    """What all arms of a comparison share, and how many seeds each arm has."""

    spec: Mapping[str, Any]
    seeds: int
    #: Seed k also cuts the data by k, in every arm.
    resamples: bool = False

    def spec_of(self, norm: str, seed: int) -> JobSpec:
        document = {**self.spec, "norm": NORMS[norm], "seed": seed}
        if self.resamples:
            document["dataset"] = {**document["dataset"], "split_seed": seed}
        return JobSpec.model_validate(document)


_BASE = {
    "model": {"name": "cnn", "width": 16},
    "optimizer": {"kind": "sgd", "lr": 0.05, "momentum": 0.9},
}
SETTINGS: Mapping[str, Setting] = {
    "digits": Setting(
        {**_BASE, "dataset": {"name": "digits"}, "training": {"epochs": 6}}, seeds=64
    ),
    "digits, a split per seed": Setting(
        {**_BASE, "dataset": {"name": "digits"}, "training": {"epochs": 6}},
        seeds=32,
        resamples=True,
    ),
    "MNIST": Setting(
        {
            **_BASE,
            "dataset": {"name": "mnist", "train_size": 2000, "image_size": 14},
            "training": {"epochs": 8},
        },
        seeds=16,
    ),
}


@dataclass(frozen=True, slots=True)
class Score:
    """Of one training."""

    setting: str
    scheme: Scheme
    norm: str
    seed: int
    values: Mapping[str, float]


def train_all(
    names: Sequence[str], first: int, seeds: int | None, folder: Path, mnist: Path | None
) -> Iterator[Score]:
    """Seed by seed from the first on, so that what is interrupted has whole seeds; `seeds`: None for as many as the
    settings say."""
    for name in names:
        setting = SETTINGS[name]
        info = _find_data(setting, folder, mnist)
        for seed in range(first, seeds or setting.seeds):
            # Equal in all arms and schemes: the split has a seed of its own.
            data = load(setting.spec_of("none", seed).dataset, info, folder)
            for scheme in SCHEMES:
                for norm in NORMS:
                    values = _train(setting, scheme, norm, seed, data)
                    yield Score(name, scheme, norm, seed, values)


def _find_data(setting: Setting, folder: Path, mnist: Path | None) -> DatasetInfo:
    name = setting.spec["dataset"]["name"]
    if name in BUILT_IN:
        return BUILT_IN[name]
    if mnist is None:
        raise FileNotFoundError("MNIST needs --mnist with the folder of its parquet files")
    decoding = decode(name, Parquet(kind="parquet", path=str(mnist)), folder, (mnist,))
    while True:
        try:
            next(decoding)
        except StopIteration as end:
            info: DatasetInfo = end.value
            return info


def _train(
    setting: Setting, scheme: Scheme, norm: str, seed: int, data: Data
) -> Mapping[str, float]:
    spec = setting.spec_of(norm, seed)
    draws = (
        nullcontext() if scheme == "streams" else one_global_seed(seed, draws_biases=norm == "none")
    )
    with tempfile.TemporaryDirectory(prefix="normlab-bench-") as folder, draws:
        *_, end = train(spec, data, Path(folder) / "attempt-1")
    assert isinstance(end, Finished)
    return {name: end.metrics[name] for name in METRICS}
