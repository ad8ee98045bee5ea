"""Averages of weights over a training, and their batch statistics."""

import copy
from collections.abc import Generator, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from trainer.layers import BatchRenorm, FrozenBatchNorm, GhostBatchNorm
from trainer.spec import EmaWeights, JobSpec, SwaWeights


def build_average(
    spec: JobSpec, model: nn.Module, total_steps: int, period_steps: int
) -> "Average | None":
    """A copy of the model that draws nothing; None where the spec averages nothing."""
    ema, swa = spec.regularizer(EmaWeights), spec.regularizer(SwaWeights)
    if swa is not None:
        # Rounded up: the last period may be shorter. Of 10 periods and a start at 0.75, the first
        # seven are left out.
        periods = -(-total_steps // period_steps)
        return Average(model, decay=None, first_period=int(swa.start * periods) + 1)
    if ema is not None:
        return Average(model, decay=ema.decay, first_period=None)
    return None


class Average:
    """Takes the weights in after every step (EMA, after Polyak & Juditsky 1992, SIAM J. Control Optim. 30), or,
    from `first_period` on, after every evaluation period (SWA, Izmailov et al. 2018, arXiv 1803.05407).
    Buffers are those of the trained model.

    As torch's AveragedModel, whose count is a tensor: SWA's shares would be float32 in float64, and
    every step would wait for the device.
    """

    def __init__(self, model: nn.Module, decay: float | None, first_period: int | None) -> None:
        self._model = copy.deepcopy(model)
        self._decay = decay
        self._first_period = first_period
        self._taken = 0

    def after_step(self, model: nn.Module) -> None:
        if self._decay is not None:
            self._take(model, 1 - self._decay)

    def after_period(self, model: nn.Module, period: int) -> None:
        """`period` counts from 1. One that was taken in before, as when a training stopped between that
        and the period's end, isn't taken in again."""
        if self._first_period is not None and period - self._first_period == self._taken:
            # Shares of 1, 1/2, 1/3 and so on make the average the mean of all that was taken in.
            self._take(model, 1 / (self._taken + 1))

    def _take(self, model: nn.Module, share: float) -> None:
        ours: list[Tensor] = [*self._model.parameters()]
        theirs: list[Tensor] = [*model.parameters()]
        with torch.no_grad():
            if self._taken == 0:
                # The first one replaces the initial weights instead of being mixed with them, which
                # an average with a decay of 0.999 would otherwise remember for thousands of steps.
                torch._foreach_copy_(ours, theirs)
            else:
                torch._foreach_lerp_(ours, theirs, share)
            for kept, current in zip(self._model.buffers(), model.buffers(), strict=True):
                kept.copy_(current)
        self._taken += 1

    @property
    def is_active(self) -> bool:
        """Whether it has taken in anything yet."""
        return self._taken > 0

    @property
    def model(self) -> nn.Module:
        """The module with the averaged weights, its parameters named as in the trained one."""
        return self._model

    def estimate_statistics(self, batches: Iterable[Tensor]) -> Generator[None, None, None]:
        """Estimates batch statistics again: their mean over the batches, by size, each normalized by its own; what
        drops is off. Yields after each batch; takes none where no layer has such statistics."""
        self._model.eval()
        layers = [module for module in self._model.modules() if _has_statistics(module)]
        if not layers:
            return
        examples = 0
        with _reestimated(layers):
            for batch in _without_singles(batches):
                examples += len(batch)
                for layer in layers:
                    # A momentum of (size of this batch) / (examples so far) makes the running mean
                    # that of all examples: batches of 64, 64 and 32 get the weights 1, 1/2 and 1/5.
                    # A ghost batch moves them once for each virtual batch: all of those count alike.
                    is_ghost = isinstance(layer, GhostBatchNorm)
                    _set(layer, momentum=None if is_ghost else len(batch) / examples)
                with torch.no_grad():
                    self._model(batch)
                yield

    def state(self) -> dict[str, Any]:
        return {"model": self._model.state_dict(), "taken": self._taken}

    def restore(self, state: Mapping[str, Any]) -> None:
        self._model.load_state_dict(state["model"])
        self._taken = state["taken"]


def _has_statistics(module: nn.Module) -> bool:
    has_own = isinstance(getattr(module, "running_var", None), Tensor) and hasattr(
        module, "momentum"
    )
    return has_own and not isinstance(module, FrozenBatchNorm)


@contextmanager
def _reestimated(layers: Sequence[nn.Module]) -> Iterator[None]:
    """Layers in training, their statistics reset; nothing else of them has changed afterwards."""
    names = ("momentum", "r_max", "d_max")
    before = [
        {name: vars(layer)[name] for name in names if name in vars(layer)} for layer in layers
    ]
    for layer in layers:
        layer.reset_running_stats()  # type: ignore[operator]
        # Not `train()`: what drops inside of a norm stays off.
        layer.training = True
        if isinstance(layer, BatchRenorm):
            # Its corrections lead back to the running statistics, which have just been reset.
            _set(layer, r_max=1.0, d_max=0.0)
    try:
        yield
    finally:
        for layer, settings in zip(layers, before, strict=True):
            layer.training = False
            _set(layer, **settings)


def _set(layer: nn.Module, **settings: float | None) -> None:
    vars(layer).update(settings)


def _without_singles(batches: Iterable[Tensor]) -> Iterator[Tensor]:
    """A single example joins the batch before it: one value per channel has no variance."""
    held: Tensor | None = None
    for batch in batches:
        if held is not None and len(batch) > 1:
            yield held
        held = batch if held is None or len(batch) > 1 else torch.cat((held, batch))
    if held is not None:
        yield held
