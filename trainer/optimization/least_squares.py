"""Least squares as an optimizer of one step: for a model that is a linear layer on fixed features."""

from typing import Any

import torch
from torch import Tensor, nn

from trainer.optimization.eager import EagerOptimizer


class LeastSquaresStep(EagerOptimizer):
    """Sets the layer's weight and bias to the minimizer of the batch's mean squared error, the one of
    minimum norm where there are several (singular value decomposition, in float64); Legendre 1805.

    The targets come of the gradient of that loss: `dL/dprediction = 2 (prediction - target) / N`.
    """

    def __init__(self, layer: nn.Linear) -> None:
        super().__init__(list(layer.parameters()), {"lr": 1.0})
        self._layer = layer
        self._inputs: Tensor | None = None
        self._targets: Tensor | None = None
        layer.register_forward_hook(self._see)

    def _see(self, layer: nn.Module, args: tuple[Tensor, ...], output: Tensor) -> None:
        if output.requires_grad:
            self._inputs, predictions = args[0].detach(), output.detach()

            def see_gradient(gradient: Tensor) -> None:
                count = len(gradient)
                # From dL/dprediction = 2 (prediction - target) / N, solved for the target: the
                # optimizer is given gradients only, as any other, and the loop needs no case for
                # it.
                self._targets = predictions.double() - gradient.double() * count / 2

            output.register_hook(see_gradient)  # type: ignore[no-untyped-call]

    @torch.no_grad()
    def step(self, closure: Any = None) -> None:  # type: ignore[override]
        inputs, targets = self._inputs, self._targets
        assert inputs is not None
        assert targets is not None
        constant = torch.ones_like(inputs[:, :1])
        design = torch.cat([constant, inputs], 1).double()
        # On the CPU: a solver of the device might not know how to divide by nearly nothing.
        solution = torch.linalg.lstsq(design.cpu(), targets.cpu(), driver="gelsd").solution
        self._layer.bias.copy_(solution[:1].T.squeeze(0))
        self._layer.weight.copy_(solution[1:].T)
