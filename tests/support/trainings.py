"""Small trainings on built-in data: their specs, how to run them, and what of two of them must be equal."""

import atexit
import io
import os
from collections.abc import Generator, Iterable, Sequence
from dataclasses import fields, is_dataclass
from functools import cache
from pathlib import Path
from shutil import rmtree
from tempfile import mkdtemp
from typing import Any

import pytest
import torch
from torch import nn

from trainer.data.loading import Data, load
from trainer.events import (
    WALL_CLOCK,
    CheckpointSaved,
    EpochFinished,
    EvaluationFinished,
    Event,
    FileWritten,
    Finished,
    Started,
    Stepped,
    StopRequest,
)
from trainer.files import write_file
from trainer.spec.builtin import BUILT_IN
from trainer.spec.dataset import DatasetSpec
from trainer.spec.job import JobSpec, Numerics
from trainer.training.loop import train

os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
# torch.compile believes what the processor says of its vector instructions, and compiles no program for each to see
# whether it runs, which takes longer than a test's own kernels.
os.environ.setdefault("TORCHINDUCTOR_VEC_ISA_OK", "1")

DEVICES = [
    "cpu",
    pytest.param(
        "cuda",
        marks=[
            pytest.mark.gpu,
            pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device"),
        ],
    ),
]


def make_spec(**changes: Any) -> JobSpec:
    """Four steps an epoch, the last batch short."""
    document = {
        "dataset": {"name": "digits", "train_size": 200},
        "model": {"name": "cnn", "width": 4},
        "norm": {"kind": "batch"},
        "training": {"epochs": 3, "batch_size": 64},
        "optimizer": {"kind": "sgd", "lr": 0.05},
    }
    return JobSpec.model_validate({**document, **changes})


def load_data(spec: JobSpec) -> Data:
    return _load(spec.dataset)


@cache
def _load(dataset: DatasetSpec) -> Data:
    return load(dataset, BUILT_IN[dataset.name], datasets_folder())


@cache
def datasets_folder() -> Path:
    folder = mkdtemp(prefix="datasets-")
    atexit.register(rmtree, folder, ignore_errors=True)
    return Path(folder)


def start(
    spec: JobSpec, folder: Path, resume: Sequence[CheckpointSaved] = (), device: str = "cpu"
) -> Generator[Event, StopRequest | None, None]:
    numerics = Numerics.model_validate({"device": device})
    return train(spec, load_data(spec), folder, numerics=numerics, resume=resume)


def run(
    spec: JobSpec, folder: Path, resume: Sequence[CheckpointSaved] = (), device: str = "cpu"
) -> list[Event]:
    return list(start(spec, folder, resume, device))


def run_until(
    wanted: Event,
    spec: JobSpec,
    folder: Path,
    device: str = "cpu",
    resume: Sequence[CheckpointSaved] = (),
) -> tuple[list[Event], list[Event]]:
    """The events up to the wanted one, and those that answer the request to save and stop there."""
    training = start(spec, folder, resume, device)
    before: list[Event] = []
    for event in training:
        before.append(event)
        if event == wanted:
            return before, list(_after_stop_request(training))
    raise AssertionError(f"{wanted} never came")


def _after_stop_request(training: Generator[Event, StopRequest | None, None]) -> Iterable[Event]:
    try:
        yield training.send(StopRequest.SAVE_AND_STOP)
    except StopIteration:
        return
    yield from training


def run_saving_often(spec: JobSpec, folder: Path) -> list[Event]:
    """An uninterrupted training that saves after every single step."""
    training = spec.training.model_copy(update={"checkpoint_seconds": 1e-9})
    return run(spec.model_copy(update={"training": training}), folder)


def until(saved: CheckpointSaved, events: Sequence[Event]) -> list[Event]:
    """What was said of the training as this checkpoint has it: it is complete some steps later."""

    def is_later(event: Event) -> bool:
        match event:
            case Stepped(step=step):
                return step > saved.step
            case EpochFinished(epoch=epoch):
                return epoch > saved.epoch
            case _:
                return False

    return [event for event in events[: events.index(saved) + 1] if not is_later(event)]


def together(before: Sequence[Event], after: Sequence[Event]) -> list[Event]:
    assert isinstance(after[0], Started)
    return [*before, *after[1:]]


def last_of(events: Sequence[Event]) -> CheckpointSaved:
    return [one for one in events if isinstance(one, CheckpointSaved) and one.kind == "last"][-1]


def finished(events: Sequence[Event]) -> Finished:
    assert isinstance(events[-1], Finished)
    return events[-1]


def epochs(events: Sequence[Event]) -> list[EpochFinished]:
    return [one for one in events if isinstance(one, EpochFinished)]


def comparable(value: Any) -> Any:
    """Without what two equal trainings may differ in; floats as text, so that NaN equals NaN."""
    if is_dataclass(value) and not isinstance(value, type):
        kept = {one.name: comparable(getattr(value, one.name)) for one in fields(value)}
        return type(value).__name__, {k: v for k, v in kept.items() if k not in WALL_CLOCK}
    if isinstance(value, float):
        return value.hex()
    if isinstance(value, dict):
        return {name: comparable(one) for name, one in value.items()}
    return [comparable(one) for one in value] if isinstance(value, list | tuple) else value


def outcome(events: Sequence[Event]) -> dict[str, Any]:
    """All results of a training: its periods, its evaluations, how it ended, its final weights.

    Steps and progress are left out: an evaluation that was interrupted is repeated.
    """
    evaluations = {
        one.name: comparable(one) for one in events if isinstance(one, EvaluationFinished)
    }
    weights = torch.load(last_of(events).path, map_location="cpu", weights_only=True)["state"][
        "model"
    ]
    return {
        "epochs": [comparable(one) for one in epochs(events)],
        "steps": [one.step for one in events if isinstance(one, Stepped)],
        "evaluations": evaluations,
        "finished": comparable(events[-1]),
        "weights": {name: one.numpy().tobytes() for name, one in weights.items()},
    }


def save_weights(model: nn.Module, path: Path) -> FileWritten:
    """As a training saves its best ones."""
    buffer = io.BytesIO()
    torch.save(model.state_dict(), buffer)
    return write_file(path, buffer.getvalue())
