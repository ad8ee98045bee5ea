"""Optimizers and learning rates as the spec says."""

import math
from typing import Any, assert_never

import torch
from torch import nn

from trainer.models import split_parameters
from trainer.optimization import eager
from trainer.optimization.least_squares import LeastSquaresStep
from trainer.optimization.timm_optimizers import build_lion, build_muon
from trainer.spec import (
    Adam,
    AdamW,
    Constant,
    Cosine,
    JobSpec,
    LeastSquares,
    Lion,
    Muon,
    ScheduleSpec,
    Sgd,
    Step,
    WeightDecay,
)


class DecoupledSgd(eager.Sgd):
    """Weights shrink by `lr * weight_decay` of themselves before the step, whatever the gradient
    (Loshchilov & Hutter 2019, arXiv 1711.05101, algorithm 1)."""

    @eager.without_hooks
    def step(self, closure: Any = None) -> None:  # type: ignore[override]
        with torch.no_grad():
            for group in self.param_groups:
                if factor := group["decoupled_decay"] * group["lr"]:
                    torch._foreach_mul_(group["params"], 1 - factor)
        super().step()


def build_optimizer(spec: JobSpec, model: nn.Module) -> torch.optim.Optimizer:
    """Adam is that of Kingma & Ba 2015 (arXiv 1412.6980), AdamW that of Loshchilov & Hutter 2019 (arXiv
    1711.05101).

    Fused: one kernel for all parameters, elementwise, so equal inputs give equal bits.
    """
    decay = spec.regularizer(WeightDecay)
    mode = decay.mode if decay is not None else None
    match spec.optimizer:
        case Sgd(lr=lr, momentum=momentum, nesterov=nesterov):
            if mode == "decoupled":
                groups = _parameter_groups(decay, model, "decoupled_decay")
                return DecoupledSgd(groups, lr=lr, momentum=momentum, nesterov=nesterov, fused=True)
            groups = _parameter_groups(decay, model)
            return eager.Sgd(groups, lr=lr, momentum=momentum, nesterov=nesterov, fused=True)
        case Adam(lr=lr, betas=betas, eps=eps) | AdamW(lr=lr, betas=betas, eps=eps):
            usual = "decoupled" if isinstance(spec.optimizer, AdamW) else "coupled"
            kind = eager.AdamW if (mode or usual) == "decoupled" else eager.Adam
            groups = _parameter_groups(decay, model)
            return kind(groups, lr=lr, betas=betas, eps=eps, weight_decay=0.0, fused=True)
        case Lion() as lion:
            return build_lion(lion, _parameter_groups(decay, model))
        case Muon() as muon:
            return build_muon(muon, _parameter_groups(decay, model), model)
        case LeastSquares():
            return LeastSquaresStep(_linear_layer(model))
        case unknown:
            assert_never(unknown)


def _linear_layer(model: nn.Module) -> nn.Linear:
    """The only one: `trainer.checks.optimizer` refuses other models."""
    (layer,) = (module for module in model.modules() if isinstance(module, nn.Linear))
    return layer


def learning_rate(
    peak: float, schedule: ScheduleSpec, step: int, *, total_steps: int, period_steps: int
) -> float:
    """The learning rate of the step after `step` finished ones.

    Warm-up is linear over `warmup_epochs` evaluation periods and reaches the peak at its end. The
    cosine (Loshchilov & Hutter 2017, arXiv 1608.03983, without restarts) runs over what is left, and would
    reach its final value one step after the last.
    """
    warmup_steps = schedule.warmup_epochs * period_steps
    # With 10 steps of warm-up the first step has a tenth of the peak and the tenth all of it; no
    # step has a rate of 0.
    if step + 1 < warmup_steps:
        peak *= (step + 1) / warmup_steps
    match schedule:
        case Constant():
            return peak
        case Step(milestones=milestones, factor=factor):
            return peak * factor ** sum(step >= epoch * period_steps for epoch in milestones)
        case Cosine(final_fraction=final):
            progress = max(0.0, step - warmup_steps) / (total_steps - warmup_steps)
            return peak * (final + (1 - final) * (1 + math.cos(math.pi * progress)) / 2)
        case unknown:
            assert_never(unknown)


def set_learning_rate(optimizer: torch.optim.Optimizer, value: float) -> None:
    for group in optimizer.param_groups:
        group["lr"] = value


def _parameter_groups(
    decay: WeightDecay | None, model: nn.Module, option: str = "weight_decay"
) -> list[dict[str, Any]]:
    """Weights, biases and parameters of norms, each with its decay under that option's name."""
    parts = split_parameters(model)
    value = decay.value if decay is not None else 0.0
    chosen = decay.parameters if decay is not None else "weights"
    groups = (
        (parts.weights, True),
        (parts.biases, chosen in ("weights_and_biases", "all")),
        (parts.norms, chosen in ("weights_and_norms", "all")),
    )
    return [{"params": part, option: value if decays else 0.0} for part, decays in groups if part]
