"""Datasets ready to train on: cut, resized and relabelled as the spec asks."""

from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor
from torch.nn import functional

from trainer.data.cache import load_part
from trainer.data.decoding import decode
from trainer.data.sources import moments
from trainer.data.splits import add_label_noise, cut
from trainer.errors import DataError
from trainer.spec import BUILT_IN, BuiltIn, DatasetInfo, DatasetSpec, Shift

__all__ = [
    "BUILT_IN",
    "Data",
    "DataError",
    "Split",
    "apply_shift",
    "decode",
    "ensure_decoded",
    "load",
    "prepare",
]

_CHUNK = 1024


@dataclass(frozen=True, slots=True)
class Split:
    """`images` N, C, H, W: uint8, or float32 features; `labels` N: int64, or float32 values."""

    images: Tensor
    labels: Tensor

    def __len__(self) -> int:
        return len(self.labels)


@dataclass(frozen=True, slots=True)
class Data:
    """The three splits; `info` is the registered one with the shape, mean and std of *this* training
    split: after resizing and binarizing, without any example of validation or test."""

    info: DatasetInfo
    train: Split
    val: Split
    test: Split


def load(spec: DatasetSpec, info: DatasetInfo, folder: Path) -> Data:
    """Raises DataError when the set is not decoded, or cannot be cut as asked."""
    ensure_decoded(info, folder)
    images, labels = load_part(folder, info, "train")
    rows = cut(labels.numpy(), spec, info)
    train, val = (
        Split(
            prepare(images, torch.from_numpy(taken), spec),
            add_label_noise(labels[taken], spec, len(info.classes), part)
            if info.target == "class"
            else labels[taken],
        )
        for part, taken in (("train", rows.train), ("val", rows.val))
    )
    if rows.test is not None:
        test = Split(prepare(images, torch.from_numpy(rows.test), spec), labels[rows.test])
    else:
        images, labels = load_part(folder, info, "test")
        test = Split(prepare(images, torch.arange(len(images)), spec), labels.clone())
    return Data(_describe(info, train.images), train, val, test)


def ensure_decoded(info: DatasetInfo, folder: Path) -> None:
    """Built-in sets are decoded when they are first needed."""
    built_in = BUILT_IN.get(info.name)
    is_built_in = built_in is not None and built_in.digest == info.digest
    if is_built_in and not (folder / info.digest).exists():
        for _ in decode(info.name, BuiltIn(kind="builtin"), folder, ()):
            pass


def prepare(images: Tensor, rows: Tensor, spec: DatasetSpec) -> Tensor:
    """These rows, resized and binarized, chunk by chunk: never the whole set as floats."""
    channels, height, width = images.shape[1:]
    size = (height, width) if spec.image_size is None else (spec.image_size, spec.image_size)
    prepared = torch.empty((len(rows), channels, *size), dtype=images.dtype)
    for start in range(0, len(rows), _CHUNK):
        chunk = images[rows[start : start + _CHUNK]]
        if size != (height, width):
            chunk = _resize(chunk, size)
        if spec.binarize is not None:
            # Compared on the scale of the stored bytes: 0.5 is 127.5, so 127 becomes black and 128
            # white.
            chunk = (chunk >= spec.binarize * 255).to(torch.uint8) * 255
        prepared[start : start + _CHUNK] = chunk
    return prepared


def _resize(images: Tensor, size: tuple[int, int]) -> Tensor:
    resized = functional.interpolate(
        images.float(), size, mode="bilinear", align_corners=False, antialias=True
    )
    return resized.round_().clamp_(0, 255).to(torch.uint8)


def _describe(info: DatasetInfo, images: Tensor) -> DatasetInfo:
    mean, std = moments(images.numpy())
    return info.model_copy(update={"shape": tuple(images.shape[1:]), "mean": mean, "std": std})


def apply_shift(images: Tensor, shift: Shift, generator: torch.Generator) -> Tensor:
    """`images` are floats in [0, 1]; what comes back may leave that range: nothing is clipped.

    The noise is drawn on the generator's device, so that it is the same for images on any other.
    """
    shifted = shift.contrast * (images - 0.5) + 0.5 + shift.brightness
    if shift.noise:
        noise = torch.randn(images.shape, generator=generator, device=generator.device)
        shifted = shifted + shift.noise * noise.to(images)
    return shifted
