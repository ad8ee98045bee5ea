"""Which parameters are weights, and the penalties that act on them. Knows no optimizer and no loop."""

from collections.abc import Callable, Iterator

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _NormBase

from trainer.spec import L1, L2, JobSpec

_NORMS = (_NormBase, nn.GroupNorm, nn.LayerNorm, nn.RMSNorm)


def split_parameters(model: nn.Module) -> tuple[list[nn.Parameter], list[nn.Parameter]]:
    """The weights, and the rest: parameters of norms, biases, single gains; each parameter once.

    A norm is told by its module: layer norm over C×H×W has an affine part of three dimensions, so
    the number of dimensions alone would take it for a weight.
    """
    weights: list[nn.Parameter] = []
    rest: list[nn.Parameter] = []
    seen: set[nn.Parameter] = set()
    for owner, name, parameter in _owned_parameters(model):
        if parameter not in seen:
            seen.add(parameter)
            (weights if _is_weight(owner, name, parameter) else rest).append(parameter)
    return weights, rest


def build_penalty(spec: JobSpec, model: nn.Module) -> Callable[[], Tensor] | None:
    """`l1 * Σ|w| + l2 / 2 * Σw²` over the model's weights as they are when called; None without either."""
    l1, l2 = spec.regularizer(L1), spec.regularizer(L2)
    weights, _ = split_parameters(model)
    if (l1 is None and l2 is None) or not weights:
        return None

    def penalty() -> Tensor:
        terms = []
        if l1 is not None:
            terms.append(l1.value * torch.stack([w.abs().sum() for w in weights]).sum())
        if l2 is not None:
            terms.append(l2.value / 2 * torch.stack([w.square().sum() for w in weights]).sum())
        return torch.stack(terms).sum()

    return penalty


def _owned_parameters(model: nn.Module) -> Iterator[tuple[nn.Module, str, nn.Parameter]]:
    for owner in model.modules():
        for name, parameter in owner.named_parameters(recurse=False):
            yield owner, name, parameter


def _is_weight(owner: nn.Module, name: str, parameter: nn.Parameter) -> bool:
    # timm's own norms inherit from nn.Module directly, so their class name must tell.
    is_norm = isinstance(owner, _NORMS) or "norm" in type(owner).__name__.lower()
    return parameter.ndim > 1 and not is_norm and "bias" not in name
