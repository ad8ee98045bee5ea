"""Normlab's own models, built with batch norm, for which surgery puts in what the spec says.

Modules have the same names in every variant; layers before a norm have no bias. Nothing drops: places
where something may are marked.
"""

from collections import OrderedDict
from math import prod

import torch
from torch import Tensor, nn
from torch.nn import functional

from trainer.layers import BranchSite, DropSite, HeadSite
from trainer.spec import Activation, Cnn, Mlp, ResNet20

_ACTIVATIONS: dict[Activation, type[nn.Module]] = {
    "relu": nn.ReLU,
    "gelu": nn.GELU,
    "sigmoid": nn.Sigmoid,
    "tanh": nn.Tanh,
}

Shape = tuple[int, int, int]


def build_activation(name: Activation) -> nn.Module:
    return _ACTIVATIONS[name]()


def build_mlp(spec: Mlp, shape: Shape, outputs: int) -> nn.Module:
    """N, C, H, W → N, outputs."""
    layers: OrderedDict[str, nn.Module] = OrderedDict(flatten=nn.Flatten())
    width = prod(shape)
    for number, hidden in enumerate(spec.hidden, start=1):
        layers[f"linear{number}"] = nn.Linear(width, hidden, bias=False)
        layers[f"norm{number}"] = nn.BatchNorm1d(hidden)
        layers[f"activation{number}"] = build_activation(spec.activation)
        layers[f"dropout{number}"] = DropSite()
        width = hidden
    return _finish(layers, width, outputs)


def build_cnn(spec: Cnn, shape: Shape, outputs: int) -> nn.Module:
    """N, C, H, W → N, outputs; drop sites come before the pooling."""
    layers: OrderedDict[str, nn.Module] = OrderedDict()
    channels = shape[0]
    for number, factor in enumerate((1, 2, 4), start=1):
        width = factor * spec.width
        layers[f"conv{number}"] = nn.Conv2d(channels, width, 3, padding=1, bias=False)
        layers[f"norm{number}"] = nn.BatchNorm2d(width)
        layers[f"activation{number}"] = build_activation(spec.activation)
        layers[f"dropout{number}"] = DropSite()
        if number < 3:
            layers[f"pool{number}"] = nn.MaxPool2d(2)
        channels = width
    layers["average"] = nn.AdaptiveAvgPool2d(1)
    layers["flatten"] = nn.Flatten()
    return _finish(layers, channels, outputs)


def build_resnet20(spec: ResNet20, shape: Shape, outputs: int) -> nn.Module:
    """He et al. 2016, arXiv 1512.03385, §4.2: three stages of three blocks, shortcuts without parameters
    (option A)."""
    layers: OrderedDict[str, nn.Module] = OrderedDict(
        conv=nn.Conv2d(shape[0], spec.width, 3, padding=1, bias=False),
        norm=nn.BatchNorm2d(spec.width),
        activation=nn.ReLU(),
        dropout=DropSite(),
    )
    channels = spec.width
    for stage in range(3):
        for block in range(3):
            width = spec.width * 2**stage
            stride = 2 if stage and block == 0 else 1
            layers[f"stage{stage + 1}_block{block + 1}"] = Block(
                channels, width, stride, skip_init=spec.skip_init
            )
            channels = width
    layers["average"] = nn.AdaptiveAvgPool2d(1)
    layers["flatten"] = nn.Flatten()
    model = _finish(layers, channels, outputs)
    for module in model.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
    return model


class Block(nn.Module):
    """Two 3×3 convolutions beside a shortcut that skips pixels and pads channels with zeros.

    With `skip_init` a trained number scales the branch and begins at zero: the block begins as its shortcut (De &
    Smith 2020, arXiv 2002.10444)."""

    def __init__(self, channels: int, width: int, stride: int, *, skip_init: bool) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(channels, width, 3, stride, padding=1, bias=False)
        self.norm1 = nn.BatchNorm2d(width)
        self.activation1 = nn.ReLU()
        self.dropout1 = DropSite()
        self.conv2 = nn.Conv2d(width, width, 3, padding=1, bias=False)
        self.norm2 = nn.BatchNorm2d(width)
        self.skip_gain = nn.Parameter(torch.zeros(())) if skip_init else None
        self.branch = BranchSite()
        self.activation2 = nn.ReLU()
        self.dropout2 = DropSite()
        self.stride = stride
        self.padding = width - channels

    def forward(self, x: Tensor) -> Tensor:
        branch = self.dropout1(self.activation1(self.norm1(self.conv1(x))))
        branch = self.norm2(self.conv2(branch))
        if self.skip_gain is not None:
            branch = self.skip_gain * branch
        branch = self.branch(branch)
        return self.dropout2(self.activation2(branch + self._shortcut(x)))  # type: ignore[no-any-return]

    def _shortcut(self, x: Tensor) -> Tensor:
        if self.stride == 1 and not self.padding:
            return x
        x = x[:, :, :: self.stride, :: self.stride]
        before = self.padding // 2
        return functional.pad(x, (0, 0, 0, 0, before, self.padding - before))


def _finish(layers: OrderedDict[str, nn.Module], width: int, outputs: int) -> nn.Module:
    layers["head_dropout"] = HeadSite()
    layers["classifier"] = nn.Linear(width, outputs)
    return nn.Sequential(layers)
