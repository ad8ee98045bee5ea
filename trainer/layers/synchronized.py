"""Batch norm whose statistics are those of the whole batch, where several processes train on parts of it."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, distributed, nn
from torch.autograd.function import once_differentiable

from trainer.layers.channels_last import ExactBatchNorm


class SynchronizedBatchNorm(ExactBatchNorm):
    """Batch norm; inside of `synchronized` its statistics are over the parts of all processes (what Peng et al. 2018,
    arXiv 1711.07240, call cross-GPU batch norm). torch's SyncBatchNorm refuses the CPU."""

    is_synchronized = False

    def forward(self, x: Tensor) -> Tensor:
        if not (self.training and self.is_synchronized):
            return super().forward(x)
        axes = (0, *range(2, x.ndim))
        variance, mean = torch.var_mean(x, axes, correction=0)
        count = x.numel() // self.num_features
        counts, means, variances = _gather(count, mean, variance)
        # The law of total variance: every sum is of terms that are not negative, so nothing cancels.
        total = counts.sum()
        shares = counts / total
        mean = (shares * means).sum(0)
        variance = (shares * (variances + (means - mean).square())).sum(0)
        self._move_running_statistics(mean.detach(), variance.detach(), total)
        shape = (1, -1, *(1 for _ in x.shape[2:]))
        scale = (variance + self.eps).rsqrt() * self.weight
        return (x - mean.view(shape)) * scale.view(shape) + self.bias.view(shape)


@contextmanager
def synchronized(layers: Sequence[SynchronizedBatchNorm]) -> Iterator[None]:
    """All processes must run the same layers inside, in the same order: each waits for the others."""
    for layer in layers:
        layer.is_synchronized = True
    try:
        yield
    finally:
        for layer in layers:
            layer.is_synchronized = False


def find_synchronized(model: nn.Module) -> list[SynchronizedBatchNorm]:
    return [module for module in model.modules() if isinstance(module, SynchronizedBatchNorm)]


def _gather(count: int, mean: Tensor, variance: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Of each process, a row: how many values, 1; their means and variances, C."""
    mine = torch.cat((mean.new_tensor([count]), mean, variance))
    rows: Tensor = _Gather.apply(mine)
    counts, means, variances = torch.split(rows, [1, len(mean), len(mean)], 1)
    return counts.detach(), means, variances


class _Gather(torch.autograd.Function):
    """N values of each process to processes × N, by one all-reduce: each fills its own row. Backwards the gradients
    of a row are added up over the processes, which all used it."""

    @staticmethod
    def forward(ctx: Any, mine: Tensor) -> Tensor:
        rows = mine.new_zeros((distributed.get_world_size(), len(mine)))
        rows[distributed.get_rank()] = mine
        distributed.all_reduce(rows)
        return rows

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, given: Tensor) -> Tensor:
        given = given.clone(memory_format=torch.contiguous_format)
        distributed.all_reduce(given)
        return given[distributed.get_rank()]
