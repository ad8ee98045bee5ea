"""Small relatives of AlexNet and GoogLeNet.

As in `trainer.models.cnn_mlp_resnet`: the same names in every variant, batch norm where a norm belongs, no bias
before a norm, markers where something may be dropped.
"""

from collections import OrderedDict

import torch
from torch import Tensor, nn

from trainer.layers import DropSite, HeadSite
from trainer.models.cnn_mlp_resnet import Shape, build_activation
from trainer.spec import Activation, AlexNetSmall, InceptionSmall


def build_alexnet_small(spec: AlexNetSmall, shape: Shape, outputs: int) -> nn.Module:
    """Krizhevsky et al. 2012 (NeurIPS 25), §3.5, for N, C, H, W of 8×8 and more: norms behind the activations
    of the first two convolutions, overlapping pooling, two hidden linear layers."""
    layers: OrderedDict[str, nn.Module] = OrderedDict()
    channels, height, width = shape
    for number, (factor, kernel) in enumerate(((1, 5), (2, 5), (3, 3), (3, 3), (2, 3)), start=1):
        widened = factor * spec.width
        layers[f"conv{number}"] = nn.Conv2d(channels, widened, kernel, padding=kernel // 2)
        layers[f"activation{number}"] = build_activation(spec.activation)
        if number <= 2:
            layers[f"norm{number}"] = nn.BatchNorm2d(widened)
        layers[f"dropout{number}"] = DropSite()
        if number in (1, 2, 5):
            layers[f"pool{number}"] = nn.MaxPool2d(3, 2, padding=1)
            height, width = (height + 1) // 2, (width + 1) // 2
        channels = widened
    layers["flatten"] = nn.Flatten()
    features = channels * height * width
    for number in (6, 7):
        layers[f"linear{number}"] = nn.Linear(features, 8 * spec.width)
        layers[f"activation{number}"] = build_activation(spec.activation)
        layers[f"dropout{number}"] = DropSite()
        features = 8 * spec.width
    layers["head_dropout"] = HeadSite()
    layers["classifier"] = nn.Linear(features, outputs)
    return nn.Sequential(layers)


def build_inception_small(spec: InceptionSmall, shape: Shape, outputs: int) -> nn.Module:
    """A stem and two modules after Szegedy et al. 2015 (arXiv 1409.4842), with the two 3×3 convolutions of
    Ioffe & Szegedy 2015 in the place of one 5×5; each convolution with its norm and activation."""
    width, activation = spec.width, spec.activation
    return nn.Sequential(
        OrderedDict(
            stem=_unit(shape[0], width, 3, activation),
            inception1=InceptionModule(width, width, activation),
            pool=nn.MaxPool2d(3, 2, padding=1),
            inception2=InceptionModule(4 * width, 2 * width, activation),
            average=nn.AdaptiveAvgPool2d(1),
            flatten=nn.Flatten(),
            head_dropout=HeadSite(),
            classifier=nn.Linear(8 * width, outputs),
        )
    )


class InceptionModule(nn.Module):
    """Four branches of equal width, side by side: N, C, H, W → N, 4·width, H, W."""

    def __init__(self, channels: int, width: int, activation: Activation) -> None:
        super().__init__()
        self.single = _unit(channels, width, 1, activation)
        self.triple = nn.Sequential(
            _unit(channels, width, 1, activation), _unit(width, width, 3, activation)
        )
        self.double_triple = nn.Sequential(
            _unit(channels, width, 1, activation),
            _unit(width, width, 3, activation),
            _unit(width, width, 3, activation),
        )
        self.pooled = nn.Sequential(
            nn.AvgPool2d(3, 1, padding=1), _unit(channels, width, 1, activation)
        )

    def forward(self, x: Tensor) -> Tensor:
        branches = (self.single, self.triple, self.double_triple, self.pooled)
        return torch.cat([branch(x) for branch in branches], 1)


def _unit(channels: int, width: int, kernel: int, activation: Activation) -> nn.Sequential:
    return nn.Sequential(
        OrderedDict(
            conv=nn.Conv2d(channels, width, kernel, padding=kernel // 2, bias=False),
            norm=nn.BatchNorm2d(width),
            activation=build_activation(activation),
            dropout=DropSite(),
        )
    )
