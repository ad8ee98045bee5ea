"""Models for reconstruction and for regression on one feature."""

from collections import OrderedDict
from math import prod

import torch
from torch import Tensor, nn

from trainer.errors import ModelError
from trainer.layers import DropSite
from trainer.models.cnn_mlp_resnet import Shape, build_activation
from trainer.spec import Autoencoder, Polynomial


def build_autoencoder(spec: Autoencoder, shape: Shape) -> nn.Module:
    """N, C, H, W → N, C, H, W through one hidden layer (Srivastava et al. 2014, §7.1)."""
    return nn.Sequential(
        OrderedDict(
            flatten=nn.Flatten(),
            encoder=nn.Linear(prod(shape), spec.hidden, bias=False),
            norm1=nn.BatchNorm1d(spec.hidden),
            activation1=build_activation(spec.activation),
            dropout1=DropSite(),
            decoder=nn.Linear(spec.hidden, prod(shape)),
            unflatten=nn.Unflatten(1, shape),
        )
    )


def build_polynomial(spec: Polynomial, shape: Shape) -> nn.Module:
    """N, 1, 1, 1 → N, 1: a linear layer on the powers of the standardized feature."""
    if prod(shape) != 1:
        raise ModelError(
            f"a polynomial takes one feature but the examples have {prod(shape)}",
            "dataset: {name: polynomial_noise}, or model: {name: mlp}",
        )
    return nn.Sequential(OrderedDict(powers=Powers(spec.degree), linear=nn.Linear(spec.degree, 1)))


class Powers(nn.Module):
    """N, 1, 1, 1 → N, degree: x, x², …"""

    def __init__(self, degree: int) -> None:
        super().__init__()
        self.degree = degree

    def forward(self, x: Tensor) -> Tensor:
        return torch.cat([x.flatten(1) ** power for power in range(1, self.degree + 1)], 1)
