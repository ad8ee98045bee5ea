"""Finds where a model has norms or could have them, what each sees and what is around it. Changes nothing.

The model runs once on the meta device: shapes only, no memory, no randomness.
"""

from dataclasses import dataclass
from math import prod
from typing import Literal

from torch import nn
from torch.nn.modules.conv import _ConvNd

from trainer.layers import own_standardization
from trainer.spec import Layout
from trainer.surgery.tracing import SAMPLES, Tracer, copy_to_meta, run_on_meta

__all__ = ["NormSite", "Obstacle", "Survey", "copy_to_meta", "run_on_meta", "survey_norms"]

_FIRST: dict[int, Layout] = {2: "N,C", 3: "N,C,L", 4: "N,C,H,W"}
_LAST: dict[int, Layout] = {2: "N,C", 3: "N,L,C", 4: "N,H,W,C"}


@dataclass(frozen=True, slots=True)
class NormSite:
    """A norm layer, or (`follows`) a convolution that one may be put behind: `shape` is what one row of
    the norm's input is, channels first: C, or C, H, W …; `layout` is how it lies there.

    `tokens`: part of a transformer, which normalizes every position alone. `folded`: its first axis
    holds more than the samples (windows). `values`: per channel, that one sample gives to its input.
    `producer`: the convolution or linear layer whose output goes here and nowhere else. `activation`:
    the activation that takes what comes out, alone, and that serves nowhere else. `is_fused`: the layer
    norms and activates in one, as timm's do.
    """

    name: str
    kind: str
    layout: Layout
    shape: tuple[int, ...]
    tokens: bool
    folded: bool
    values: int
    producer: str | None
    activation: str | None
    dropout: str | None
    follows: bool = False
    is_fused: bool = False

    @property
    def channels(self) -> int:
        return self.shape[0]

    @property
    def positions(self) -> int:
        return prod(self.shape[1:])


@dataclass(frozen=True, slots=True)
class Obstacle:
    """A normalization that surgery cannot reach, and why."""

    layer: str
    detail: str


@dataclass(frozen=True, slots=True)
class Survey:
    """Norm layers in the order of their first call; `unused` are never called. A model that has none
    gets `places`: one behind each of its convolutions, but for `scores`: the layers whose outputs become
    the model's through pooling, activations and sums alone. `multiplications` are those of convolutions
    and linear layers for one image. `own_weights`: what the model's convolutions do to their weights by themselves."""

    sites: tuple[NormSite, ...]
    places: tuple[NormSite, ...]
    unused: tuple[str, ...]
    obstacles: tuple[Obstacle, ...]
    output_shape: tuple[int, ...]
    classifier: str | None
    scores: frozenset[str]
    multiplications: int
    own_weights: Literal["standardization", "scaled_standardization"] | None


def survey_norms(model: nn.Module, example_shape: tuple[int, ...]) -> Survey:
    """`example_shape` is one image, C, H, W. Raises ModelError where the model cannot take it."""
    twin = copy_to_meta(model)
    tracer = Tracer(twin)
    output = run_on_meta(twin, example_shape, tracer)
    sites, obstacles = [], dict(tracer.obstacles)
    for name in tracer.seen:
        try:
            sites.append(_site(tracer, name))
        except _Unfit as error:
            obstacles[name] = str(error)
    return Survey(
        sites=tuple(sites),
        # Only a model without any normalization gets places: beside norms of its own, further ones
        # would make it another model.
        places=() if tracer.layouts or obstacles else tuple(_places(tracer)),
        unused=tuple(name for name in tracer.layouts if name not in tracer.seen),
        obstacles=tuple(Obstacle(name, detail) for name, detail in obstacles.items()),
        output_shape=tuple(output.shape),
        classifier=tracer.classifier,
        scores=tracer.scores,
        multiplications=tracer.multiplications // SAMPLES,
        own_weights=next(filter(None, map(own_standardization, tracer.modules.values())), None),
    )


class _Unfit(Exception):
    """A norm layer in a place that no variant is defined for."""


def _site(tracer: Tracer, name: str) -> NormSite:
    module, seen = tracer.modules[name], tracer.seen[name]
    # Of several calls the smallest input counts, which is where a norm has the fewest values to
    # average over.
    shape, last = min(seen.shapes, key=prod), tracer.layouts[name] == "channels_last"
    if len({len(other) for other in seen.shapes}) > 1 or len(shape) not in _FIRST:
        raise _Unfit(f"{type(module).__name__} sees inputs of shapes {seen.shapes}")
    layout = (_LAST if last else _FIRST)[len(shape)]
    if last:
        _require_one_axis(module)
        if len(shape) == 4 and any(tag.is_split for tag in seen.channels):
            raise _Unfit(
                f"{type(module).__name__} sees a part of the channels, such as one head of attention, in "
                f"inputs of shape {shape}"
            )
        # Channels second, whatever the layout, so that whoever reads a site finds them in one
        # place.
        shape = (shape[0], shape[-1], *shape[1:-1])
    return NormSite(
        name,
        type(module).__name__,
        layout,
        shape[1:],
        tokens=last and len(shape) > 2 and _has_sequences(tracer),
        folded=shape[0] != SAMPLES,
        values=prod(shape) // (shape[1] * SAMPLES),
        producer=tracer.sole_producer(name),
        activation=tracer.sole_activation(name),
        dropout=seen.dropout,
        is_fused=isinstance(getattr(module, "act", None), nn.Module),
    )


def _has_sequences(tracer: Tracer) -> bool:
    """One N, L, C is enough: models that go between N, L, C and N, H, W, C are transformers."""
    return any(
        tracer.layouts[name] == "channels_last" and len(shape) == 3
        for name, seen in tracer.seen.items()
        for shape in seen.shapes
    )


def _require_one_axis(module: nn.Module) -> None:
    axes = tuple(getattr(module, "normalized_shape", (0,)))
    if len(axes) != 1:
        raise _Unfit(f"{type(module).__name__} normalizes the axes {axes} but one axis is known")


def _places(tracer: Tracer) -> list[NormSite]:
    """Behind each convolution, before its activation; not behind what gives the class scores."""
    return [
        NormSite(
            name,
            type(tracer.modules[name]).__name__,
            _FIRST[len(shape)],
            shape[1:],
            tokens=False,
            folded=shape[0] != SAMPLES,
            values=prod(shape) // (shape[1] * SAMPLES),
            producer=name,
            activation=tracer.sole_activation(name),
            dropout=None,
            follows=True,
        )
        for name, shape in tracer.outputs.items()
        if isinstance(tracer.modules[name], _ConvNd)
        and len(shape) in _FIRST
        and name not in tracer.scores
    ]
