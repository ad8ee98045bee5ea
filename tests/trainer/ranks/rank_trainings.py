"""Small trainings by several processes on the CPU."""

from collections.abc import Generator, Sequence
from pathlib import Path

import torch

from tests.support.trainings import datasets_folder, last_of
from trainer.events import CheckpointSaved, Event, StopRequest
from trainer.ranks import train_on_ranks
from trainer.spec.builtin import BUILT_IN
from trainer.spec.job import JobSpec, Numerics


def start_ranks(
    spec: JobSpec,
    folder: Path,
    resume: Sequence[CheckpointSaved] = (),
    initial: CheckpointSaved | None = None,
) -> Generator[Event, StopRequest | None, None]:
    info, devices = BUILT_IN[spec.dataset.name], ["cpu"] * spec.resources.devices
    return train_on_ranks(
        spec, info, datasets_folder(), folder,
        numerics=Numerics(), devices=devices, resume=resume, initial=initial,
    )  # fmt: skip


def last_weights(events: Sequence[Event]) -> dict[str, torch.Tensor]:
    weights: dict[str, torch.Tensor] = torch.load(last_of(events).path, weights_only=True)["state"][
        "model"
    ]
    return weights
