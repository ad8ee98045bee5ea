"""Optimizers of timm, which is imported only when a spec asks for one of them."""

import inspect
from collections.abc import Callable, Sequence
from functools import cache
from typing import Any, TypeAlias

import torch
from torch import nn
from torch.optim import Optimizer

from trainer.models import hidden_matrices, import_from_timm
from trainer.optimization.eager import EagerOptimizer, without_hooks
from trainer.spec import Lion, Muon

#: Parameters with the options that are theirs alone.
Groups: TypeAlias = Sequence[dict[str, Any]]


def build_lion(spec: Lion, groups: Groups) -> Optimizer:
    """Chen et al. 2023, arXiv 2302.06675, algorithm 2; decay is decoupled."""
    return _eager_class("lion", "Lion")(groups, lr=spec.lr, betas=spec.betas)


def build_muon(spec: Muon, groups: Groups, model: nn.Module) -> Optimizer:
    """Jordan et al. 2024, https://kellerjordan.github.io/posts/muon, with its coefficients and five iterations;
    `match_rms_adamw` is that of Liu et al. 2025, arXiv 2502.16982, §2.2. Decay is decoupled, of both parts."""
    matrices = {id(weight) for weight in hidden_matrices(model)}
    return _eager_class("muon", "Muon")(
        [part for group in groups for part in _divide(group, matrices)],
        lr=spec.lr,
        momentum=spec.momentum,
        nesterov=spec.nesterov,
        ns_coefficients="original",
        adjust_lr_fn=spec.scale,
        fallback_lr_scale=spec.adamw_lr / spec.lr,
        betas=spec.adamw_betas,
    )


def _divide(group: dict[str, Any], matrices: set[int]) -> list[dict[str, Any]]:
    """The matrices of a group, and the rest of it for AdamW: what of both there is."""
    ours = [one for one in group["params"] if id(one) in matrices]
    rest = [one for one in group["params"] if id(one) not in matrices]
    # With Nesterov's momentum, timm would take NAdamW for the rest.
    adamw = {"use_fallback": True, "nesterov": False, "eps": 1e-8}
    parts = [
        {**group, "params": ours, "use_muon": True},
        {**group, "params": rest, **adamw},
    ]
    return [part for part in parts if part["params"]]


@cache
def _eager_class(module: str, name: str) -> Callable[..., Optimizer]:
    """timm's class without the methods that import PyTorch's compiler."""
    kind = getattr(import_from_timm("optim", module), name)
    step = without_hooks(torch.no_grad()(inspect.unwrap(kind.step)))
    return type(name, (EagerOptimizer, kind), {"step": step})
