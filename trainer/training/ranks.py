"""Training by several processes, each on its part of every batch: what they say to each other.

The gradients are added up by one all-reduce of one vector, not by torch's DistributedDataParallel. That would weigh
all parts alike, however uneven; it takes gradients as they come of one backward pass, where a step may have several
(micro-batches, penalties); and it lays its buckets out anew after the first step, so that a resumed training adds in
another order, and rounds otherwise. What it gains, sums that travel while the backward pass goes on, is given up.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, distributed, nn

from trainer.errors import RanksError


@dataclass(frozen=True, slots=True)
class Ranks:
    """This process is number `rank` of `size`; `torch.distributed` has been set up for all of them.

    After every step all have the same weights, moments and running statistics, bit for bit. So rank 0 alone
    validates, saves, and says what happens; the others only take steps, until they are ended.
    """

    rank: int
    size: int

    @property
    def leads(self) -> bool:
        return self.rank == 0

    def take_part(self, batch: Tensor) -> Tensor:
        """This rank's rows of a batch: parts differ by one row at most, the first ones are the larger."""
        # A copy, not a view: kernels may round by how memory is aligned.
        return batch.tensor_split(self.size)[self.rank].clone()

    def dropout_stream(self) -> str:
        """Each rank drops by itself: from one stream, all parts of a batch would lose the same."""
        return "dropout" if self.leads else f"dropout of rank {self.rank}"

    def add_up(self, model: nn.Module, share: float, values: Tensor) -> Tensor:
        """Replaces the gradients by their sums over the ranks, and running statistics by their mean, weighted by each
        rank's share of the batch; returns the sums of the values, float32."""
        gradients = [p.grad for p in model.parameters() if p.grad is not None]
        statistics = list(_running_statistics(model))
        parts = [*gradients, *(share * one for one in statistics), values]
        # The same layout at every step, so that a resumed training adds in the same order.
        sums = torch.cat([one.reshape(-1).float() for one in parts])
        distributed.all_reduce(sums)
        *taken, added = torch.split(sums, [one.numel() for one in parts])
        for target, source in zip([*gradients, *statistics], taken, strict=True):
            target.copy_(source.view_as(target))
        return added

    def check_equal(self, step: int, model: nn.Module) -> None:
        """Raises RanksError where the ranks begin at different steps, or with different weights."""
        with torch.no_grad():
            weight = sum((one.double().sum() for one in model.parameters()), torch.zeros(()))
        mine = torch.stack((torch.tensor(float(step)).double().to(weight.device), weight.double()))
        rows = mine.new_zeros((self.size, 2))
        rows[self.rank] = mine
        distributed.all_reduce(rows)
        if not bool((rows == rows[0]).all() | rows.isnan().any()):
            listed = ", ".join(f"step {int(row[0])}" for row in rows)
            raise RanksError(f"the ranks do not begin alike ({listed}): their weights differ")


def _running_statistics(model: nn.Module) -> Iterable[Tensor]:
    """Floating-point buffers of norms over batches, in the order of the modules."""
    for module in model.modules():
        if hasattr(module, "reset_running_stats"):
            buffers: Sequence[Tensor] = list(module.buffers(recurse=False))
            yield from (one for one in buffers if one.is_floating_point())
