"""Which parameters of a model are weights, which are biases and which belong to norms."""

import re
from collections.abc import Iterator
from dataclasses import dataclass

from torch import nn
from torch.nn.modules.batchnorm import _NormBase
from torch.nn.modules.conv import _ConvNd
from torch.nn.utils.parametrizations import _WeightNorm
from torch.nn.utils.parametrize import ParametrizationList

_LAYERS = (nn.Linear, _ConvNd, nn.Bilinear, nn.MultiheadAttention)
_NORMS = (_NormBase, nn.GroupNorm, nn.LayerNorm, nn.RMSNorm)
#: Where every module with parameters is a norm, or a part of one.
_NORM_MODULES = ("trainer.surgery.build_norm", "trainer.layers.norms")
# What is added to activations, or stands beside them: a bias in all but name.
_ADDED = re.compile(r"bias|beta|shift|pos(_|$)|position|embed|token", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Parameters:
    """Every parameter of a model once, in the order of its modules.

    Weights multiply many activations each: those of linear layers, convolutions and attention. Biases
    are added: also position embeddings and class tokens. Norms are what scales one channel: all
    parameters of norms, and gains outside of them (layer scale, the g of weight norm, temperatures).
    """

    weights: list[nn.Parameter]
    biases: list[nn.Parameter]
    norms: list[nn.Parameter]


def split_parameters(model: nn.Module) -> Parameters:
    """A norm is told by its module, for layer norm over C×H×W has parameters of three dimensions; so is
    a weight: that of one input channel has as few values as a gain."""
    parts = Parameters([], [], [])
    seen: set[nn.Parameter] = set()
    for owner, name, parameter in _owned_parameters(model):
        if parameter not in seen:
            seen.add(parameter)
            _part_of(parts, owner, name, parameter).append(parameter)
    return parts


def find_head(model: nn.Module) -> nn.Module | None:
    """The layer that gives the outputs: the last linear layer, or the last convolution where there is none."""
    for kind in (nn.Linear, _ConvNd):
        if layers := [module for module in model.modules() if isinstance(module, kind)]:
            return layers[-1]
    return None


def head_parameters(model: nn.Module) -> list[nn.Parameter]:
    head = find_head(model)
    return [] if head is None else list(head.parameters())


def hidden_matrices(model: nn.Module) -> list[nn.Parameter]:
    """Weights that are matrices of outputs by inputs: not those of the last layer, nor of convolutions of a
    single channel (a first layer on grey images, a depthwise one), whose rows are filters beside each other."""
    head = {id(parameter) for parameter in head_parameters(model)}
    return [
        weight
        for weight in split_parameters(model).weights
        if id(weight) not in head and weight.ndim > 1 and min(weight.shape[:2]) > 1
    ]


def is_norm(module: nn.Module) -> bool:
    """One of torch's or ours, or called a norm: timm's own inherit from no norm."""
    kind = type(module)
    return (
        isinstance(module, _NORMS)
        or kind.__module__ in _NORM_MODULES
        or ("norm" in kind.__name__.lower() and not isinstance(module, _LAYERS))
    )


def _part_of(
    parts: Parameters, owner: nn.Module, name: str, parameter: nn.Parameter
) -> list[nn.Parameter]:
    if is_norm(owner):
        return parts.norms
    if isinstance(owner, _LAYERS) and name.endswith("weight"):
        return parts.weights
    if isinstance(owner, nn.Embedding) or _ADDED.search(name):
        return parts.biases
    # A gain per channel may have further dimensions of one: the layer scale of torchvision's ConvNeXt.
    return parts.norms if parameter.numel() in (0, 1, *parameter.shape) else parts.weights


def _owned_parameters(model: nn.Module) -> Iterator[tuple[nn.Module, str, nn.Parameter]]:
    """With the layer that uses it and its name there; a parametrized one as what it stands for."""
    for path, owner in model.named_modules():
        if isinstance(owner, ParametrizationList):
            prefix, _, name = path.rpartition(".")
            layer = model.get_submodule(prefix.rpartition(".")[0])
            for own, parameter in owner.named_parameters(recurse=False):
                # Weight norm's g is a gain of its own, its v is the weight (Salimans & Kingma 2016).
                is_gain = own == "original0" and isinstance(owner[0], _WeightNorm)
                yield (owner[0], "g", parameter) if is_gain else (layer, name, parameter)
        else:
            for name, parameter in owner.named_parameters(recurse=False):
                yield owner, name, parameter
