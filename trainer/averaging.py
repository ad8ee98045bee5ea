"""Averages of weights over a training, and their batch statistics. Knows no optimizer and no loop."""

from collections.abc import Generator, Iterable, Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn, get_swa_multi_avg_fn

from trainer.spec import EmaWeights, JobSpec, SwaWeights


def build_average(
    spec: JobSpec, model: nn.Module, total_steps: int, period_steps: int
) -> "Average | None":
    """A copy of the model that draws nothing; None where the spec averages nothing."""
    ema, swa = spec.regularizer(EmaWeights), spec.regularizer(SwaWeights)
    if swa is not None:
        periods = -(-total_steps // period_steps)
        averaged = AveragedModel(model, multi_avg_fn=get_swa_multi_avg_fn())  # type: ignore[no-untyped-call]
        return Average(averaged, first_period=int(swa.start * periods) + 1)
    if ema is not None:
        follow = get_ema_multi_avg_fn(ema.decay)  # type: ignore[no-untyped-call]
        averaged = AveragedModel(model, multi_avg_fn=follow)
        return Average(averaged, first_period=None)
    return None


class Average:
    """Takes the weights in after every step (EMA, Polyak & Juditsky 1992), or, from `first_period` on,
    after every evaluation period (SWA, Izmailov et al. 2018). Buffers are those of the trained model."""

    def __init__(self, averaged: AveragedModel, first_period: int | None) -> None:
        self._averaged = averaged
        self._first_period = first_period

    def after_step(self, model: nn.Module) -> None:
        if self._first_period is None:
            self._averaged.update_parameters(model)

    def after_period(self, model: nn.Module, period: int) -> None:
        """`period` counts from 1."""
        if self._first_period is not None and period >= self._first_period:
            self._averaged.update_parameters(model)

    @property
    def is_active(self) -> bool:
        """Whether it has taken in anything yet."""
        return int(self._averaged.n_averaged) > 0

    @property
    def model(self) -> nn.Module:
        """The module with the averaged weights, its parameters named as in the trained one."""
        module: nn.Module = self._averaged.module
        return module

    def estimate_statistics(self, batches: Iterable[Tensor]) -> Generator[None, None, None]:
        """Batch statistics anew: the mean over the batches, each normalized by its own; what drops is
        off. Yields after each batch; takes none where no layer has such statistics."""
        layers = [one for one in self.model.modules() if _has_statistics(one)]
        momenta = [layer.momentum for layer in layers]
        self.model.eval()
        for layer in layers:
            layer.reset_running_stats()  # type: ignore[operator]
            layer.momentum = None  # type: ignore[assignment]
            layer.train()
        if layers:
            for batch in batches:
                with torch.no_grad():
                    self.model(batch)
                yield
        for layer, momentum in zip(layers, momenta, strict=True):
            layer.momentum = momentum
        self.model.eval()

    def state(self) -> dict[str, Any]:
        taken = int(self._averaged.n_averaged)
        return {"model": self.model.state_dict(), "taken": taken}

    def restore(self, state: Mapping[str, Any]) -> None:
        self.model.load_state_dict(state["model"])
        self._averaged.n_averaged.fill_(state["taken"])


def _has_statistics(module: nn.Module) -> bool:
    return isinstance(getattr(module, "running_var", None), Tensor) and hasattr(module, "momentum")
