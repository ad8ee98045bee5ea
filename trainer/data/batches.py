"""A split's images on the device, from bytes to what a model takes."""

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from trainer.data.loading import Split
from trainer.spec import DatasetInfo, Numerics


@dataclass(frozen=True, slots=True)
class Examples:
    """Images as bytes (uint8 N, C, H, W) or features (float32 N, F, 1, 1), and labels (int64 N) or values
    (float32 N), all on the device."""

    images: Tensor
    labels: Tensor

    @classmethod
    def of(cls, split: Split, device: torch.device) -> "Examples":
        return cls(split.images.to(device), split.labels.to(device))

    def __len__(self) -> int:
        return len(self.labels)

    def take(self, rows: Tensor | slice) -> tuple[Tensor, Tensor]:
        """Pixels as floats in [0, 1] or features as they are, and labels or values."""
        images = self.images[rows]
        return images if images.is_floating_point() else images.float() / 255, self.labels[rows]

    def batches(self, passes: int = 1) -> Iterator[tuple[Tensor, Tensor]]:
        """All of them in order, in batches for evaluation: large, and fixed by the images' size and how
        many passes each batch goes through, so that none of them takes long."""
        size = max(1, min(1024, max(16, 2**22 // self.images[0].numel())) // passes)
        for start in range(0, len(self), size):
            yield self.take(slice(start, start + size))


class Standardize:
    """Pixels to zero mean and unit variance per channel of the training split, in the memory format."""

    def __init__(self, info: DatasetInfo, numerics: Numerics, device: torch.device) -> None:
        self._mean = torch.tensor(info.mean, device=device).view(1, -1, 1, 1)
        self._std = torch.tensor(info.std, device=device).view(1, -1, 1, 1)
        self._format = memory_format(numerics)

    def __call__(self, pixels: Tensor) -> Tensor:
        return ((pixels - self._mean) / self._std).contiguous(memory_format=self._format)


def memory_format(numerics: Numerics) -> torch.memory_format:
    if numerics.memory_format == "channels_last":
        return torch.channels_last
    return torch.contiguous_format
