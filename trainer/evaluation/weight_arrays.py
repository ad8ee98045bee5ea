"""A network's weights as small arrays: the first filters and histograms of all."""

import io
import math
from collections.abc import Iterator, Mapping

import numpy
import torch
from torch import Tensor, nn

from trainer.evaluation.losses import Arrays
from trainer.layers import has_weights

#: Filters of the first layer that are kept, and values of them at most: a linear layer on large images
#: has millions.
KEPT_FILTERS = 64
MOST_FILTER_VALUES = 2**20
BINS = 100
NEAR_ZERO = 1e-2


def first_filters(model: nn.Module, shape: tuple[int, int, int]) -> Arrays:
    """The first layer's weights: `filters` float32, C_out × C_in × h × w; of a linear layer on whole
    images of `shape` C × H × W its rows as images, of another linear layer out × in × 1 × 1.

    `layer` is its name and `total` how many filters it has: the first `KEPT_FILTERS` are here. Empty where
    the model has neither convolution nor linear layer.
    """
    for name, weight in _weights(model):
        total = len(weight)
        images = _as_images(weight, shape)
        count = min(KEPT_FILTERS, max(1, MOST_FILTER_VALUES // max(1, images[0].numel())))
        return {
            "layer": numpy.array(name),
            "filters": images[:count].float().cpu().numpy(),
            "total": numpy.array(total),
        }
    return {}


def weight_histograms(model: nn.Module) -> Arrays:
    """A histogram of the finite weights of every convolution and linear layer, in the order of the model.

    `layers` (names, L), `edges` (L × 101), `counts` (L × 100), `minimum`, `maximum` (L; NaN of a layer
    without a finite weight). Edges go evenly from -m to m, where m is the lowest power of two that no
    weight exceeds: so those of different trainings fall on each other and their counts can be added up.
    """
    weights = [(name, weight.flatten().double().cpu()) for name, weight in _weights(model)]
    described = [_describe(weight[weight.isfinite()]) for _, weight in weights]
    if not described:
        return {}
    names = numpy.array([name for name, _ in weights])
    columns = {key: numpy.stack([row[key] for row in described]) for key in described[0]}
    return {"layers": names, **columns}


def weight_scalars(model: nn.Module) -> dict[str, float]:
    """Over the weights of all convolutions and linear layers: `weight_norm`, the root of the sum of their
    squares; `near_zero`, the share of |w| < 0.01; `exact_zero`. Empty where there is no such layer."""
    weights = [weight.flatten().double() for _, weight in _weights(model)]
    if not weights:
        return {}
    flat = torch.cat(weights)
    return {
        "weight_norm": float(flat.square().sum().sqrt()),
        "near_zero": float((flat.abs() < NEAR_ZERO).double().mean()),
        "exact_zero": float((flat == 0).double().mean()),
    }


def kurtosis_of_filters(model: nn.Module) -> dict[str, float]:
    """`filter_kurtosis`: mean over the first layer's filters of the fourth moment of their weights over
    the squared second (Pearson's: 3 of a normal distribution, more of a local filter)."""
    for _, weight in _weights(model):
        filters = weight.flatten(1).double()
        centred = filters - filters.mean(1, keepdim=True)
        second, fourth = (centred.pow(power).mean(1) for power in (2, 4))
        return {"filter_kurtosis": float((fourth / second.square()).mean())}
    return {}


def serialize(arrays: Mapping[str, object]) -> bytes:
    """As .npz, to be read with `allow_pickle=False`; equal arrays give equal bytes."""
    content = io.BytesIO()
    numpy.savez(content, **arrays)  # type: ignore[arg-type]
    return content.getvalue()


def _weights(model: nn.Module) -> Iterator[tuple[str, Tensor]]:
    """As they multiply: a parametrized weight after its parametrization."""
    for name, module in model.named_modules():
        if has_weights(module) and isinstance(weight := module.weight, Tensor):
            yield name, weight.detach()


def _as_images(weight: Tensor, shape: tuple[int, int, int]) -> Tensor:
    if weight.dim() == 2:
        fits = weight.shape[1] == math.prod(shape)
        return weight.view(-1, *shape) if fits else weight[:, :, None, None]
    if weight.dim() == 3:
        return weight[:, :, None]
    # Of a convolution over volumes, the middle slice.
    return weight if weight.dim() == 4 else weight[:, :, weight.shape[2] // 2]


def _describe(weight: Tensor) -> Arrays:
    largest = float(weight.abs().max()) if len(weight) else 0.0
    # `frexp`: largest = fraction · 2**exponent with a fraction in [1/2, 1).
    fraction, exponent = math.frexp(largest)
    reach = math.ldexp(1.0, exponent - (fraction == 0.5)) if largest else 1.0
    # Not `linspace`, whose rounding depends on its ends: these are equal where they should be.
    edges = reach * (numpy.arange(-BINS // 2, BINS // 2 + 1) / (BINS // 2))
    counts, _ = numpy.histogram(weight.numpy(), bins=edges)
    low, high = (weight.min(), weight.max()) if len(weight) else (torch.nan, torch.nan)
    return {
        "edges": edges,
        "counts": counts,
        "minimum": numpy.array(float(low)),
        "maximum": numpy.array(float(high)),
    }
