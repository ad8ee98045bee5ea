"""What drops: layers, the places for them in our models, and who of a model drops.

All draw from the global generator, in training only. All keep the mean, and in evaluation each is the
identity: what is kept is scaled up in training ("inverted").
"""

from math import prod
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.modules.dropout import _DropoutNd


class DropSite(nn.Identity):
    """After a hidden activation."""


class HeadSite(nn.Identity):
    """Before the last linear layer."""


class BranchSite(nn.Identity):
    """At the end of a residual branch, before it is added."""


class DropoutLinear(nn.Linear):
    """A linear layer whose input is dropped (Srivastava et al. 2014, JMLR 15): its parameters keep the names
    of the plain layer."""

    def __init__(self, layer: nn.Linear, p: float) -> None:
        nn.Module.__init__(self)
        self.in_features, self.out_features = layer.in_features, layer.out_features
        self.weight, self.bias = layer.weight, layer.bias
        self.dropout = nn.Dropout(p)

    def forward(self, input: Tensor) -> Tensor:
        return functional.linear(self.dropout(input), self.weight, self.bias)


class BlockDropout(nn.Module):
    """Drops square blocks of a map N, C, H, W that lie fully inside it (Ghiasi et al. 2018, arXiv
    1810.12890, algorithm 1).

    A block larger than the map is cut to it, and so drops the whole map with probability p. Even sizes
    are fine. `rate` is the present p, 0-dimensional and a function of the step: no part of the state.
    """

    rate: Tensor

    def __init__(
        self, p: float, block_size: int, channels: Literal["each", "all"], ramp: bool = False
    ) -> None:
        super().__init__()
        self.p, self.block_size, self.channels, self.ramp = p, block_size, channels, ramp
        # A tensor, since a number that changes at every step would be recompiled at every step.
        self.register_buffer("rate", torch.tensor(p), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        if not self.training:
            return x
        samples, channels, *size = x.shape
        block = [min(self.block_size, side) for side in size]
        inside = [side - cut + 1 for side, cut in zip(size, block, strict=True)]
        # Equation 1: the share of first corners for which about p of all pixels lie in some block.
        gamma = self.rate * (prod(size) / (prod(block) * prod(inside)))
        masks = channels if self.channels == "each" else 1
        corners = (torch.rand((samples, masks, *inside), device=x.device) < gamma).to(x.dtype)
        down, right = (_spread(side, cut, x) for side, cut in zip(size, block, strict=True))
        # How many blocks cover a pixel: two small products, several times faster than max pooling.
        kept = ((down @ corners @ right.T) < 0.5).to(x.dtype)
        # Scaled by what was really kept in this batch, not by 1 - p, as in the paper; `clamp` for a
        # batch that lost all.
        return x * (kept * (kept.numel() / kept.sum().clamp(min=1)))

    def extra_repr(self) -> str:
        return (
            f"p={self.p}, block_size={self.block_size}, channels={self.channels}, ramp={self.ramp}"
        )


def _spread(side: int, block: int, like: Tensor) -> Tensor:
    """Pixels × first pixels of blocks along one side: one where the block covers the pixel."""
    pixels, firsts = (torch.arange(n, device=like.device) for n in (side, side - block + 1))
    distance = pixels[:, None] - firsts
    return ((distance >= 0) & (distance < block)).to(like.dtype)


class BranchDropout(nn.Module):
    """Drops a whole residual branch, for a sample or for the batch (Huang et al. 2016, arXiv 1603.09382, §3).

    The paper keeps training as it is and scales by 1 - p in evaluation; this does the inverse.
    """

    def __init__(self, p: float, per: Literal["sample", "batch"]) -> None:
        super().__init__()
        self.p, self.per = p, per

    def forward(self, x: Tensor) -> Tensor:
        if not self.training:
            return x
        draws = len(x) if self.per == "sample" else 1
        kept = x.new_empty((draws, *(1 for _ in x.shape[1:]))).bernoulli_(1 - self.p)
        return x * (kept / (1 - self.p))

    def extra_repr(self) -> str:
        return f"p={self.p:.4g}, per={self.per}"


class DropConnectLinear(nn.Linear):
    """Drops weights, one mask a batch (Wan et al. 2013, ICML); evaluates with the mean weights."""

    p: float

    def forward(self, input: Tensor) -> Tensor:
        weight = functional.dropout(self.weight, self.p, self.training)
        return functional.linear(input, weight, self.bias)


class DropConnectConv1d(nn.Conv1d):
    """As `DropConnectLinear`."""

    p: float

    def forward(self, input: Tensor) -> Tensor:
        weight = functional.dropout(self.weight, self.p, self.training)
        output: Tensor = self._conv_forward(input, weight, self.bias)
        return output


class DropConnectConv2d(nn.Conv2d):
    """As `DropConnectLinear`."""

    p: float

    def forward(self, input: Tensor) -> Tensor:
        weight = functional.dropout(self.weight, self.p, self.training)
        output: Tensor = self._conv_forward(input, weight, self.bias)
        return output


_DROP_CONNECT = (DropConnectLinear, DropConnectConv1d, DropConnectConv2d)


def drop_weights(layer: nn.Module, p: float) -> bool:
    """Makes this very layer drop its weights; false, and nothing done, where it is of a kind of its own.

    It stays the same object, so a layer that is shared stays shared, and its parameters keep their
    names. What reads the weight elsewhere (attention does) would not see the mask.
    """
    for kind in _DROP_CONNECT:
        if type(layer) is kind.__base__:
            # The class is exchanged instead of the object: optimizers, hooks and other modules may
            # already refer to it.
            layer.__class__ = kind
            assert isinstance(layer, _DROP_CONNECT)
            layer.p = p
            return True
    return False


# By name, since neither library is imported: the attribute that holds the probability.
_OF_LIBRARIES = {
    "torchvision.ops.stochastic_depth.StochasticDepth": "p",
    "torchvision.ops.drop_block.DropBlock2d": "p",
    "torchvision.ops.drop_block.DropBlock3d": "p",
    "timm.layers.drop.DropPath": "drop_prob",
    "timm.layers.drop.DropBlock2d": "drop_prob",
    "timm.layers.patch_dropout.PatchDropout": "prob",
    "timm.layers.patch_dropout.PatchDropoutWithIndices": "prob",
}


def is_stochastic_depth(module: nn.Module) -> bool:
    """A layer of a library that drops residual branches."""
    return _path(module) in (
        "torchvision.ops.stochastic_depth.StochasticDepth",
        "timm.layers.drop.DropPath",
    )


def drop_probability(module: nn.Module) -> float:
    """What this module itself drops in training: 0 for one that drops nothing, or whose parts do."""
    if isinstance(module, (_DropoutNd, BlockDropout, BranchDropout, *_DROP_CONNECT)):
        return float(module.p)
    if isinstance(module, nn.MultiheadAttention):
        return float(module.dropout)
    if (attribute := _OF_LIBRARIES.get(_path(module))) is not None:
        return float(getattr(module, attribute) or 0.0)
    return 0.0


def drops(module: nn.Module) -> bool:
    """Whether this module itself drops something in training."""
    return drop_probability(module) > 0


#: Torch's layers that draw nothing. A class derived from one of them may have a `forward` of its own.
_WITHOUT_CHANCE = frozenset(
    {nn.Sequential, nn.ModuleList, nn.Identity, nn.Flatten, nn.Linear, nn.Conv1d, nn.Conv2d}
    | {nn.BatchNorm1d, nn.BatchNorm2d, nn.InstanceNorm1d, nn.InstanceNorm2d, nn.GroupNorm}
    | {nn.LayerNorm, nn.ReLU, nn.GELU, nn.SiLU, nn.Sigmoid, nn.Tanh}
    | {nn.MaxPool2d, nn.AvgPool2d, nn.AdaptiveAvgPool2d}
)
_SITES = (DropSite, HeadSite, BranchSite)


def may_draw(model: nn.Module) -> bool:
    """Whether something of it may draw random numbers in training: false only where it is known not to.

    Of this package's modules only those of this file draw.
    """
    return any(map(_may_draw, model.modules()))


def _may_draw(module: nn.Module) -> bool:
    kind = type(module)
    if kind.__module__ == __name__:
        return kind not in _SITES
    return not (kind in _WITHOUT_CHANCE or kind.__module__.startswith("trainer."))


def start_dropping(model: nn.Module) -> None:
    """All that drops does so, at its full p, though the rest of the model may be in evaluation mode.

    Only the layers that drop are switched: estimates that live below them (of batch statistics, of
    singular vectors) must not move.
    """
    for module in model.modules():
        if drops(module):
            module.training = True
    set_progress(model, 1.0)


def has_ramp(model: nn.Module) -> bool:
    """Whether something of it drops more as training goes on."""
    return any(isinstance(module, BlockDropout) and module.ramp for module in model.modules())


def set_progress(model: nn.Module, fraction: float) -> None:
    """Before each step: the share of training that is over. Ramped layers follow it linearly from 0 to p
    (Ghiasi et al. 2018, §3, "scheduled DropBlock"). Never syncs with the device."""
    for module in model.modules():
        if isinstance(module, BlockDropout) and module.ramp:
            module.rate.fill_(module.p * fraction)


def _path(module: nn.Module) -> str:
    kind = type(module)
    return f"{kind.__module__}.{kind.__qualname__}"
