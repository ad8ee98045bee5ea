"""One seed for everything, as most training scripts have it: what one arm draws shifts all that it draws afterwards."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, nullcontext
from typing import Any
from unittest import mock

import torch
from torch import nn

#: Where the trainer asks for a named stream. The split and the shift are not among them: they belong to the data.
_STREAMS: dict[str, Callable[..., Any]] = {
    "trainer.models.build.seeded": lambda *_: nullcontext(),
    "trainer.surgery.weight_parametrization.seeded": lambda *_: nullcontext(),
    "trainer.training.batch_order.generator": lambda *_: torch.default_generator,
    "trainer.training.setup.seed_globals": lambda *_: None,
    "trainer.training.loop.seed_globals": lambda *_: None,
}


@contextmanager
def one_global_seed(seed: int, *, draws_biases: bool) -> Iterator[None]:
    """All that a training inside draws comes from torch's global generator, which is seeded once, here.

    `draws_biases`: of an arm without norms, whose convolutions have a bias where those before a norm have none
    (`bias=norm is None`): its initial values are drawn, and everything after them is shifted.
    """
    with ExitStack() as stack:
        for place, replacement in _STREAMS.items():
            stack.enter_context(mock.patch(place, replacement))
        if draws_biases:
            stack.enter_context(mock.patch.object(nn.Conv2d, "reset_parameters", _draw_bias_too))
        torch.manual_seed(seed)
        yield


_reset = nn.Conv2d.reset_parameters


def _draw_bias_too(layer: nn.Conv2d) -> None:
    _reset(layer)
    if layer.bias is None:
        torch.rand(layer.out_channels)
