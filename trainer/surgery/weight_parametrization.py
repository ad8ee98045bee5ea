"""What acts on the weights of convolutions and linear layers beside their training.

The trained parameters stay what they are in the plain variant, bit for bit, under torch's names for
parametrized ones.
"""

from collections import Counter
from collections.abc import Callable, Iterator
from functools import partial
from typing import assert_never

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.modules.conv import _ConvNd, _ConvTransposeNd
from torch.nn.utils.parametrizations import spectral_norm, weight_norm
from torch.nn.utils.parametrize import is_parametrized, register_parametrization

from trainer.errors import ModelError
from trainer.layers import own_standardization
from trainer.random_streams import seeded
from trainer.spec import (
    JobSpec,
    LibraryModel,
    PlainWeights,
    PluginModel,
    ScaledStandardizedWeights,
    SpectralNorm,
    StandardizedWeights,
    VitSmall,
    WeightNorm,
)
from trainer.surgery.notes import shorten

_POINTER = "/weights/kind"
#: Of convolutions alone.
_STANDARDIZED = (StandardizedWeights, ScaledStandardizedWeights)


def apply_weights(model: nn.Module, spec: JobSpec) -> tuple[str, ...]:
    """In place, after everything that changes layers; returns what a reader must know.

    Only spectral norm draws, from the stream `weights`. Raises ModelError where the model has no layer
    for it, or its convolutions standardize their weights themselves.
    """
    if isinstance(spec.weights, _STANDARDIZED):
        _refuse_twice(model, spec)
    match spec.weights:
        case PlainWeights():
            return ()
        case StandardizedWeights(eps=eps):
            kinds: tuple[type[nn.Module], ...] = (_ConvNd,)
            act: Callable[[nn.Module], object] = partial(_standardize, eps=eps)
        case ScaledStandardizedWeights(eps=eps):
            kinds = (_ConvNd,)
            act = partial(_standardize_scaled, gamma=_find_gamma(spec), eps=eps)
        case WeightNorm():
            kinds, act = (_ConvNd, nn.Linear), _normalize
        case SpectralNorm(power_iterations=iterations):
            # Miyato et al. 2018, arXiv 1802.05957; torch's own.
            kinds = (_ConvNd, nn.Linear)
            act = partial(spectral_norm, n_power_iterations=iterations)
        case unknown:
            assert_never(unknown)
    layers = {name: m for name, m in model.named_modules() if isinstance(m, kinds)}
    left = {name: why for name, layer in layers.items() if (why := _explain_misfit(layer, spec))}
    # A parametrization replaces the parameter in one of the layers; the other would go on with the
    # old one.
    left |= dict.fromkeys(_tied(layers), "shares its weights with another layer")
    if len(left) == len(layers):
        raise _no_layer(spec, left)
    with seeded("weights", spec.seed):
        for name, layer in layers.items():
            if name not in left:
                act(layer)
    return tuple(_describe(model, spec, left))


def _refuse_twice(model: nn.Module, spec: JobSpec) -> None:
    """What is standardized already would stay as it is, and only what the library left plain would change: the gates of
    channel attention, say."""
    own = {n: kind for n, m in model.named_modules() if (kind := own_standardization(m))}
    if own:
        raise ModelError(
            f"the convolutions of {spec.model.name} standardize their weights themselves, by "
            f"{next(iter(own.values()))} ({shorten(list(own))})",
            "weights: {kind: plain}, which leaves them to it",
            pointer=_POINTER,
            layer=next(iter(own)),
        )


class _Standardized(nn.Module):
    """Zero mean and unit variance over the weights of each output, `(w - mean) / sqrt(var + eps)` with the
    biased variance (Qiao et al. 2019, arXiv 1903.10520, §3.1; eps as in its second version and in timm)."""

    def __init__(self, eps: float) -> None:
        super().__init__()
        self.eps = eps

    def forward(self, weight: Tensor) -> Tensor:
        # Layer norm of torch is this formula in one kernel, each output taken for a sample.
        return functional.layer_norm(weight, weight.shape[1:], eps=self.eps)


def _standardize(layer: nn.Module, eps: float) -> None:
    register_parametrization(layer, "weight", _Standardized(eps))


#: One over the deviation of an activation of a standard normal number.
_GAMMAS = {
    "relu": 1.7139588594436646,
    "gelu": 1.7015043497085571,
    "sigmoid": 4.803835391998291,
    "tanh": 1.5939117670059204,
}


def _find_gamma(spec: JobSpec) -> float:
    assert isinstance(spec.weights, ScaledStandardizedWeights)
    if spec.weights.gamma is not None:
        return spec.weights.gamma
    if isinstance(spec.model, LibraryModel | PluginModel):
        raise ModelError(
            f"scaled_standardization needs the gain of the activation, which of {spec.model.name} is not known",
            f"weights: {{kind: scaled_standardization, gamma: {_GAMMAS['relu']:.3f}}} for relu",
            pointer="/weights/gamma",
        )
    if isinstance(spec.model, VitSmall):
        return _GAMMAS["gelu"]
    return _GAMMAS[getattr(spec.model, "activation", "relu")]


class _ScaledStandardized(nn.Module):
    """`gain γ (w - mean) / sqrt(N (var + eps))` over the N weights of each output, with the biased variance (Brock et al.
    2021, arXiv 2101.08692; a trained gain as in the authors' code, eps as in timm). The gain of the activation, γ, is
    part of the weights, as in timm: all convolutions but the first follow an activation."""

    def __init__(self, outputs: int, scale: float, eps: float) -> None:
        super().__init__()
        # A vector, which counts as one unit when gradients are clipped by units.
        self.gain = nn.Parameter(torch.ones(outputs))
        self.scale, self.eps = scale, eps

    def forward(self, weight: Tensor) -> Tensor:
        standardized = functional.layer_norm(weight, weight.shape[1:], eps=self.eps)
        return standardized * (self.scale * self.gain).view(-1, *[1] * (weight.ndim - 1))


def _standardize_scaled(layer: nn.Module, gamma: float, eps: float) -> None:
    weight = layer._parameters["weight"]
    assert weight is not None
    scale = gamma / weight[0].numel() ** 0.5
    parametrization = _ScaledStandardized(len(weight), scale, eps).to(weight)
    register_parametrization(layer, "weight", parametrization)


def _normalize(layer: nn.Module) -> None:
    """`w = g v / |v|` with one g per output, which begins at |v|: the same function at the start. The
    last layer is no exception (Salimans & Kingma 2016, arXiv 1602.07868, §2)."""
    weight_norm(layer, dim=0)


def _explain_misfit(layer: nn.Module, spec: JobSpec) -> str | None:
    """Why this layer stays as it is, or None."""
    weight = layer._parameters.get("weight")
    if is_parametrized(layer, "weight") or weight is None:
        return "has computed weights already"
    if own_standardization(layer) is not None:
        return "standardizes its weights itself"
    if isinstance(layer, _ConvTransposeNd):
        return "is a transposed convolution"
    if isinstance(spec.weights, _STANDARDIZED) and weight[0].numel() == 1:
        return "has one weight per output, which would become zero"
    if not weight.is_meta and not bool(weight.detach().flatten(1).any(1).all()):
        return "begins with outputs whose weights are zero"
    return None


def _tied(layers: dict[str, nn.Module]) -> list[str]:
    uses = Counter(id(layer._parameters.get("weight")) for layer in layers.values())
    return [name for name, m in layers.items() if uses[id(m._parameters.get("weight"))] > 1]


def _no_layer(spec: JobSpec, left: dict[str, str]) -> ModelError:
    what = "convolution" if isinstance(spec.weights, _STANDARDIZED) else "layer"
    why = "".join(f" ({name} {reason})" for name, reason in list(left.items())[:1])
    return ModelError(
        f"{spec.model.name} has no {what} for weights of kind {spec.weights.kind}{why}",
        "weights: {kind: plain}, or a model of convolutions",
        pointer=_POINTER,
        layer=next(iter(left), None),
    )


def _describe(model: nn.Module, spec: JobSpec, left: dict[str, str]) -> Iterator[str]:
    for reason in sorted(set(left.values())):
        names = [name for name, why in left.items() if why == reason]
        yield f"weights stay plain in {shorten(names)}: each {reason}"
    attentions = [n for n, m in model.named_modules() if isinstance(m, nn.MultiheadAttention)]
    if attentions and not isinstance(spec.weights, _STANDARDIZED):
        yield f"the input projections of attention stay plain: {shorten(attentions)}"
