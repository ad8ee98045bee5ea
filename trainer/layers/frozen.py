"""Batch norm by statistics that don't change any more, as fine-tuning with few images a step has it."""

from typing import Self

import torch

from trainer.layers.channels_last import ExactBatchNorm


class FrozenBatchNorm(ExactBatchNorm):
    """By its running statistics in training, too; none of them moves. With a frozen gain and bias it is torchvision's
    `FrozenBatchNorm2d`, for any layout: they are no parameters then. Its state is named as batch norm's.
    """

    def __init__(self, channels: int, *, eps: float, is_affine_frozen: bool) -> None:
        super().__init__(channels, eps=eps, affine=not is_affine_frozen)
        if is_affine_frozen:
            for name, value in (("weight", 1.0), ("bias", 0.0)):
                del self._parameters[name]
                self.register_buffer(name, torch.full((channels,), value))
        super().train(False)

    def train(self, mode: bool = True) -> Self:
        """Stays as in evaluation."""
        return super().train(False)
