"""Penalties that are added to the loss, and projections that follow a step; both act on weights.

Weights are those of `trainer.models.parameters`: none of norms, no biases. Under `weights:` they are the
underlying ones.
"""

from collections.abc import Callable, Sequence
from typing import TypeAlias

import torch
from torch import Tensor, nn
from torch.nn import functional

from trainer.models import split_parameters
from trainer.spec import L1, L2, ElasticNet, JobSpec, MaxNorm, Sgd

#: The terms of the cost beside the loss, by the kind of their regularizer; one number each.
Penalties: TypeAlias = Callable[[], dict[str, Tensor]]
#: What brings weights back into a set after a step of this learning rate, in place.
Projection: TypeAlias = Callable[[float], None]


def build_penalties(spec: JobSpec, model: nn.Module) -> Penalties | None:
    """Of the weights as they are when called; None where the spec has none."""
    weights = split_parameters(model).weights
    terms = {kind: (l1, l2) for kind, l1, l2 in _penalties(spec) if l1 or l2}
    if not terms or not weights:
        return None

    def penalties() -> dict[str, Tensor]:
        return {kind: _penalty(weights, l1, l2) for kind, (l1, l2) in terms.items()}

    return penalties


def _penalties(spec: JobSpec) -> list[tuple[str, float, float]]:
    """Kind, factor of Σ|w|, factor of Σw²."""
    found: list[tuple[str, float, float]] = []
    for part in spec.regularization:
        match part:
            case L1(proximal=False, value=value):
                found.append((part.kind, value, 0.0))
            case L2(value=value):
                # Half, so that the gradient is `value * w`: with plain SGD the same step as a
                # weight decay of `value`.
                found.append((part.kind, 0.0, value / 2))
            case ElasticNet(value=value, l1_ratio=ratio):
                # Zou & Hastie 2005, J. R. Stat. Soc. B 67, with the factors of scikit-learn.
                found.append((part.kind, value * ratio, value * (1 - ratio) / 2))
            case _:
                pass  # no penalty
    return found


def _penalty(weights: Sequence[nn.Parameter], l1: float, l2: float) -> Tensor:
    terms = []
    if l1:
        terms.append(l1 * torch.stack([weight.abs().sum() for weight in weights]).sum())
    if l2:
        terms.append(l2 * torch.stack([weight.square().sum() for weight in weights]).sum())
    return torch.stack(terms).sum()


def build_projection(spec: JobSpec, model: nn.Module) -> Projection | None:
    """First the soft threshold of a proximal l1 (Parikh & Boyd 2014, Proximal Algorithms, §4.2), then the
    bound of max-norm; None without either.

    With SGD the weights come to rest where those of the penalty would: its threshold is as long as the
    step of a lasting gradient, `lr / (1 - momentum)`. Adam scales the step of each weight by itself,
    and the threshold doesn't follow.
    """
    l1, bound = spec.regularizer(L1), spec.regularizer(MaxNorm)
    weights = split_parameters(model).weights
    shrinkage = l1.value * _lasting_step(spec) if l1 is not None and l1.proximal else 0.0
    if not weights or not (shrinkage or bound is not None):
        return None

    def project(learning_rate: float) -> None:
        with torch.no_grad():
            for weight in weights:
                if shrinkage:
                    weight.copy_(functional.softshrink(weight, learning_rate * shrinkage))
                if bound is not None:
                    _bound(weight, bound.value)

    return project


def _lasting_step(spec: JobSpec) -> float:
    """How far a gradient of one that stays moves a weight at a learning rate of one: the sum of the powers
    of the momentum, with Nesterov's too."""
    # 1 + m + m² + …: a momentum of 0.9 makes a lasting gradient's steps ten times as long.
    return 1 / (1 - spec.optimizer.momentum) if isinstance(spec.optimizer, Sgd) else 1.0


def _bound(weight: Tensor, limit: float) -> None:
    """Srivastava et al. 2014 (JMLR 15), §5.1: the incoming weights of a unit are a row, or a filter. Rows within
    the limit keep their bits. torch.renorm adds 1e-7 to the norms, in float64 too."""
    norms = torch.linalg.vector_norm(weight, dim=tuple(range(1, weight.ndim)), keepdim=True)
    weight.mul_((limit / norms).clamp_(max=1))
