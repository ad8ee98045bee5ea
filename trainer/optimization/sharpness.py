"""Sharpness-aware minimization: where the gradient of a step is taken."""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from trainer.spec import JobSpec, SharpnessAware


def build_ascent(spec: JobSpec, model: nn.Module) -> "Ascent | None":
    """None where the spec takes gradients at the weights themselves."""
    part = spec.regularizer(SharpnessAware)
    return Ascent(model, part.rho) if part is not None else None


class Ascent:
    """Moves the parameters by `rho` along their normalized gradient, to where the loss is about highest within
    that distance (Foret et al. 2021, arXiv 2010.01412, eq. 2), and back.

    All trained parameters are moved, those of norms too, and the gradient is normalized over all of them, as in
    the authors' code (https://github.com/google-research/sam).
    """

    def __init__(self, model: nn.Module, rho: float) -> None:
        self._model, self._rho = model, rho
        self._parameters = [one for one in model.parameters() if one.requires_grad]

    @contextmanager
    def ascended(self) -> Iterator[None]:
        """From the gradients of a first pass, which are gone inside, to those of a second one, which are there after.

        Buffers are afterwards what they were before: running statistics take in the first pass alone, that of
        the weights themselves, as in the authors' code.
        """
        moved: list[Tensor] = [one for one in self._parameters if one.grad is not None]
        buffers = list(self._model.buffers())
        # Copies, since to subtract what was added would round.
        before = _copies(moved)
        held = _copies(buffers)
        self._move(moved)
        yield
        with torch.no_grad():
            torch._foreach_copy_(moved, before)
            for buffer, value in zip(buffers, held, strict=True):
                buffer.copy_(value)

    def _move(self, parameters: list[Tensor]) -> None:
        gradients = [one.grad for one in parameters if one.grad is not None]
        length = torch.linalg.vector_norm(torch.stack(torch._foreach_norm(gradients)))
        # A gradient of zero has no direction. No sync with the device.
        steps = list(torch._foreach_mul(gradients, self._rho / (length + 1e-12)))
        with torch.no_grad():
            torch._foreach_add_(parameters, steps)
        for one in parameters:
            one.grad = None


def _copies(tensors: Iterable[Tensor]) -> list[Tensor]:
    return [one.detach().clone() for one in tensors]
