"""Normlab's own models, built with batch norm, for which surgery puts in what the spec says.

Modules have the same names in every variant; layers before a norm have no bias.
"""

from collections import OrderedDict
from math import prod

import torch
from torch import Tensor, nn
from torch.nn import functional

from trainer.spec import Activation, Cnn, Mlp, ResNet20

_ACTIVATIONS: dict[Activation, type[nn.Module]] = {
    "relu": nn.ReLU,
    "gelu": nn.GELU,
    "sigmoid": nn.Sigmoid,
    "tanh": nn.Tanh,
}

Shape = tuple[int, int, int]


def build_mlp(spec: Mlp, shape: Shape, classes: int, hidden_p: float, head_p: float) -> nn.Module:
    """N, C, H, W → N, classes; `hidden_p` drops after every activation, `head_p` once at the end."""
    layers: OrderedDict[str, nn.Module] = OrderedDict(flatten=nn.Flatten())
    width = prod(shape)
    for number, hidden in enumerate(spec.hidden, start=1):
        layers[f"linear{number}"] = nn.Linear(width, hidden, bias=False)
        layers[f"norm{number}"] = nn.BatchNorm1d(hidden)
        layers[f"activation{number}"] = _ACTIVATIONS[spec.activation]()
        if hidden_p:
            layers[f"dropout{number}"] = nn.Dropout(hidden_p)
        width = hidden
    return _finish(layers, width, classes, head_p)


def build_cnn(spec: Cnn, shape: Shape, classes: int, hidden_p: float, head_p: float) -> nn.Module:
    """N, C, H, W → N, classes; dropout as in `build_mlp`, before the pooling."""
    layers: OrderedDict[str, nn.Module] = OrderedDict()
    channels = shape[0]
    for number, factor in enumerate((1, 2, 4), start=1):
        width = factor * spec.width
        layers[f"conv{number}"] = nn.Conv2d(channels, width, 3, padding=1, bias=False)
        layers[f"norm{number}"] = nn.BatchNorm2d(width)
        layers[f"activation{number}"] = _ACTIVATIONS[spec.activation]()
        if hidden_p:
            layers[f"dropout{number}"] = nn.Dropout(hidden_p)
        if number < 3:
            layers[f"pool{number}"] = nn.MaxPool2d(2)
        channels = width
    layers["average"] = nn.AdaptiveAvgPool2d(1)
    layers["flatten"] = nn.Flatten()
    return _finish(layers, channels, classes, head_p)


def build_resnet20(
    spec: ResNet20, shape: Shape, classes: int, hidden_p: float, head_p: float
) -> nn.Module:
    """He et al. 2016, §4.2: three stages of three blocks, shortcuts without parameters (option A)."""
    layers: OrderedDict[str, nn.Module] = OrderedDict(
        conv=nn.Conv2d(shape[0], spec.width, 3, padding=1, bias=False),
        norm=nn.BatchNorm2d(spec.width),
        activation=nn.ReLU(),
    )
    if hidden_p:
        layers["dropout"] = nn.Dropout(hidden_p)
    channels = spec.width
    for stage in range(3):
        for block in range(3):
            width = spec.width * 2**stage
            stride = 2 if stage and block == 0 else 1
            layers[f"stage{stage + 1}_block{block + 1}"] = Block(channels, width, stride, hidden_p)
            channels = width
    layers["average"] = nn.AdaptiveAvgPool2d(1)
    layers["flatten"] = nn.Flatten()
    model = _finish(layers, channels, classes, head_p)
    for module in model.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
    return model


class Block(nn.Module):
    """Two 3×3 convolutions beside a shortcut that skips pixels and pads channels with zeros."""

    def __init__(self, channels: int, width: int, stride: int, p: float) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(channels, width, 3, stride, padding=1, bias=False)
        self.norm1 = nn.BatchNorm2d(width)
        self.activation1 = nn.ReLU()
        self.dropout1 = nn.Dropout(p) if p else nn.Identity()
        self.conv2 = nn.Conv2d(width, width, 3, padding=1, bias=False)
        self.norm2 = nn.BatchNorm2d(width)
        self.activation2 = nn.ReLU()
        self.dropout2 = nn.Dropout(p) if p else nn.Identity()
        self.stride = stride
        self.padding = width - channels

    def forward(self, x: Tensor) -> Tensor:
        branch = self.dropout1(self.activation1(self.norm1(self.conv1(x))))
        branch = self.norm2(self.conv2(branch))
        return self.dropout2(self.activation2(branch + self._shortcut(x)))  # type: ignore[no-any-return]

    def _shortcut(self, x: Tensor) -> Tensor:
        x = x[:, :, :: self.stride, :: self.stride]
        before = self.padding // 2
        return functional.pad(x, (0, 0, 0, 0, before, self.padding - before))


def _finish(
    layers: OrderedDict[str, nn.Module], width: int, classes: int, head_p: float
) -> nn.Module:
    if head_p:
        layers["head_dropout"] = nn.Dropout(head_p)
    layers["classifier"] = nn.Linear(width, classes)
    return nn.Sequential(layers)


class DropoutLinear(nn.Linear):
    """A linear layer whose input is dropped: its parameters keep the names of the plain layer."""

    def __init__(self, layer: nn.Linear, p: float) -> None:
        nn.Module.__init__(self)
        self.in_features, self.out_features = layer.in_features, layer.out_features
        self.weight, self.bias = layer.weight, layer.bias
        self.dropout = nn.Dropout(p)

    def forward(self, input: torch.Tensor) -> torch.Tensor:
        return functional.linear(self.dropout(input), self.weight, self.bias)
