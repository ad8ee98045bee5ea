"""Training in bfloat16: convolutions and products of matrices in it, all else in float32."""

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils.parametrize import ParametrizationList

from trainer.errors import MachineError
from trainer.surgery import find_sites


def use_bfloat16(model: nn.Module, device: torch.device) -> None:
    """In place, for all who call the model or a copy of it (Kalamkar et al. 2019, arXiv 1905.12322).

    Parameters, norms with their statistics, what acts on weights, and the outputs stay float32. Modules and the
    state dict keep their names. Raises MachineError where the device has no bfloat16.
    """
    if device.type == "cuda" and torch.cuda.get_device_capability(device) < (8, 0):
        raise MachineError(
            f"precision is bf16 but {torch.cuda.get_device_name(device)} has no bfloat16: it needs compute "
            "capability 8.0 (Ampere) or newer; train in float32"
        )
    _autocast(model, device)
    # Autocast gives norms what convolutions made, and some of them multiply matrices themselves.
    for norm, _ in find_sites(model).values():
        _keep_float32(norm, device)
    for module in model.modules():
        if isinstance(module, ParametrizationList):
            _keep_float32(module, device)


def _autocast(model: nn.Module, device: torch.device) -> None:
    kind = type(model)

    def forward(self: nn.Module, x: Tensor) -> Tensor:
        with torch.autocast(device.type, torch.bfloat16):
            outputs: Tensor = kind.forward(self, x)
        # Losses and scores are sums over many numbers: not in 8 bits.
        return outputs.float()

    _exchange_forward(model, forward)


def _keep_float32(module: nn.Module, device: torch.device) -> None:
    kind = type(module)

    def forward(self: nn.Module, *inputs: Tensor) -> Tensor:
        with torch.autocast(device.type, enabled=False):
            output: Tensor = kind.forward(self, *(one.float() for one in inputs))
        return output

    _exchange_forward(module, forward)


def _exchange_forward(module: nn.Module, forward: Any) -> None:
    """The class is exchanged instead of the object, which optimizers and other modules refer to, and instead of an
    attribute of it, whose copy would call the original. It keeps its name, by which kinds of modules are told."""
    kind = type(module)
    names = {"__module__": kind.__module__, "__qualname__": kind.__qualname__}
    module.__class__ = type(kind.__name__, (kind,), {"forward": forward, **names})
