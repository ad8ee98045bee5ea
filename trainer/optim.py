"""Optimizers and learning rates as the spec says. Knows no data and no loop."""

import math
from typing import assert_never

import torch
from torch import nn

from trainer.regularizers import split_parameters
from trainer.spec import (
    Adam,
    AdamW,
    Constant,
    Cosine,
    JobSpec,
    ScheduleSpec,
    Sgd,
    Step,
    WeightDecay,
)


def build_optimizer(spec: JobSpec, model: nn.Module) -> torch.optim.Optimizer:
    """Fused: one kernel for all parameters, elementwise, so equal inputs give equal bits."""
    groups = _parameter_groups(spec.regularizer(WeightDecay), model)
    match spec.optimizer:
        case Sgd(lr=lr, momentum=momentum, nesterov=nesterov):
            return torch.optim.SGD(
                groups, lr=lr, momentum=momentum, nesterov=nesterov, weight_decay=0.0, fused=True
            )
        case Adam(lr=lr, betas=betas, eps=eps):
            return torch.optim.Adam(
                groups, lr=lr, betas=betas, eps=eps, weight_decay=0.0, fused=True
            )
        case AdamW(lr=lr, betas=betas, eps=eps):
            return torch.optim.AdamW(
                groups, lr=lr, betas=betas, eps=eps, weight_decay=0.0, fused=True
            )
        case unknown:
            assert_never(unknown)


def learning_rate(
    peak: float, schedule: ScheduleSpec, step: int, *, total_steps: int, period_steps: int
) -> float:
    """The learning rate of the step after `step` finished ones.

    Warm-up is linear over `warmup_epochs` evaluation periods and reaches the peak at its end. The
    cosine runs over what is left, and would reach its final value one step after the last.
    """
    warmup_steps = schedule.warmup_epochs * period_steps
    if step + 1 < warmup_steps:
        peak *= (step + 1) / warmup_steps
    match schedule:
        case Constant():
            return peak
        case Step(milestones=milestones, factor=factor):
            return peak * factor ** sum(step >= one * period_steps for one in milestones)
        case Cosine(final_fraction=final):
            progress = max(0.0, step - warmup_steps) / (total_steps - warmup_steps)
            return peak * (final + (1 - final) * (1 + math.cos(math.pi * progress)) / 2)
        case unknown:
            assert_never(unknown)


def set_learning_rate(optimizer: torch.optim.Optimizer, value: float) -> None:
    for group in optimizer.param_groups:
        group["lr"] = value


def _parameter_groups(
    decay: WeightDecay | None, model: nn.Module
) -> list[dict[str, list[nn.Parameter] | float]]:
    weights, rest = split_parameters(model)
    value = decay.value if decay is not None else 0.0
    of_rest = value if decay is not None and decay.parameters == "all" else 0.0
    groups = [(weights, value), (rest, of_rest)]
    return [{"params": part, "weight_decay": one} for part, one in groups if part]
