"""Places in our models where something may be dropped, and what drops there. Knows no spec of a job."""

import torch
from torch import nn
from torch.nn import functional


class DropSite(nn.Identity):
    """After a hidden activation."""


class HeadSite(nn.Identity):
    """Before the last linear layer."""


class BranchSite(nn.Identity):
    """At the end of a residual branch, before it is added."""


class DropoutLinear(nn.Linear):
    """A linear layer whose input is dropped: its parameters keep the names of the plain layer."""

    def __init__(self, layer: nn.Linear, p: float) -> None:
        nn.Module.__init__(self)
        self.in_features, self.out_features = layer.in_features, layer.out_features
        self.weight, self.bias = layer.weight, layer.bias
        self.dropout = nn.Dropout(p)

    def forward(self, input: torch.Tensor) -> torch.Tensor:
        return functional.linear(self.dropout(input), self.weight, self.bias)
