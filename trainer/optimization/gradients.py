"""What is done to gradients between the backward pass and the step."""

from collections.abc import Callable, Sequence
from functools import partial
from typing import TypeAlias

import torch
from torch import nn

from trainer.models import head_parameters, import_from_timm
from trainer.random_streams import generator
from trainer.spec import AdaptiveGradientClipping, GradientClipping, GradientNoise, JobSpec

#: Changes the gradients of the step after this number of finished ones, in place.
GradientRule: TypeAlias = Callable[[int], None]


def build_gradient_rule(spec: JobSpec, model: nn.Module) -> GradientRule | None:
    """First clipping, each unit's before that of all, then noise, so that clipping doesn't take the noise back; None
    without any."""
    clipping, noise = spec.regularizer(GradientClipping), spec.regularizer(GradientNoise)
    adaptive = spec.regularizer(AdaptiveGradientClipping)
    if clipping is None and noise is None and adaptive is None:
        return None
    clip_units = _build_unit_clipping(adaptive, model) if adaptive is not None else None
    parameters = [parameter for parameter in model.parameters() if parameter.requires_grad]

    def adjust(step: int) -> None:
        given = [parameter for parameter in parameters if parameter.grad is not None]
        if clip_units is not None:
            clip_units()
        if clipping is not None:
            _clip(clipping, given)
        if noise is not None:
            _add_noise(noise, given, spec.seed, step)

    return adjust


def _build_unit_clipping(
    clipping: AdaptiveGradientClipping, model: nn.Module
) -> Callable[[], None]:
    """Brock et al. 2021, arXiv 2102.06171, §4: timm's, which is that of the authors' code. The last layer is
    excluded, as there. No sync with the device."""
    clip: Callable[..., None] = import_from_timm("utils", "agc").adaptive_clip_grad
    head = {id(parameter) for parameter in head_parameters(model)}
    hidden = [one for one in model.parameters() if one.requires_grad and id(one) not in head]
    return partial(clip, hidden, clip_factor=clipping.value, eps=clipping.eps)


def _clip(clipping: GradientClipping, parameters: Sequence[nn.Parameter]) -> None:
    """Pascanu et al. 2013, arXiv 1211.5063: the norm is that of all gradients together. No sync with the device."""
    if clipping.by == "norm":
        nn.utils.clip_grad_norm_(parameters, clipping.value)
    else:
        nn.utils.clip_grad_value_(parameters, clipping.value)


def _add_noise(
    noise: GradientNoise, parameters: Sequence[nn.Parameter], seed: int, step: int
) -> None:
    """Neelakantan et al. 2015, arXiv 1511.06807: variance eta / (1 + t)^gamma. Drawn on the CPU: equal on
    every device."""
    source = generator("gradient_noise", seed, step)
    deviation = (noise.eta / (1 + step) ** noise.gamma) ** 0.5
    with torch.no_grad():
        for parameter in parameters:
            assert parameter.grad is not None
            drawn = torch.randn(parameter.shape, generator=source, dtype=parameter.dtype)
            # Without a wait for the device; memory that isn't pinned is read before the call returns.
            there = drawn.to(parameter.device, non_blocking=True)
            parameter.grad.add_(there, alpha=deviation)
