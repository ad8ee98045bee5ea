"""Gains that begin at zero, and with them the branches that they scale: found while a model is built, without its values."""

import re
from collections.abc import Mapping
from typing import Any

from torch import nn
from torch.overrides import TorchFunctionMode

from trainer.models.parameters import split_parameters

#: SkipInit's number of a branch, in our networks and in timm's (De & Smith 2020, arXiv 2002.10444).
_SKIP_GAIN = re.compile(r"skip_?(init_)?gain$")


class ZeroFills(TorchFunctionMode):
    """Which parameters were last filled with zeros inside; also on the meta device, where they have no values."""

    def __init__(self) -> None:
        super().__init__()
        # Kept alive, so that ids stay unique.
        self._filled: dict[int, nn.Parameter] = {}

    def __torch_function__(
        self, func: Any, types: Any, args: Any = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        result, name = func(*args, **kwargs), getattr(func, "__name__", "")
        # Methods of a tensor are given it by place, the functions of torch.nn.init by name.
        if isinstance(result, nn.Parameter) and name.endswith("_") and name != "requires_grad_":
            values = (*args[1:], *(value for key, value in kwargs.items() if key != "tensor"))
            if name == "zero_" or (name in ("fill_", "constant_") and values == (0,)):
                self._filled[id(result)] = result
            else:
                self._filled.pop(id(result), None)
        return result

    def find_gains(self, model: nn.Module) -> tuple[str, ...]:
        """The names of gains, of norms and others, that begin at zero."""
        gains = {id(parameter) for parameter in split_parameters(model).norms}
        return tuple(
            name
            for name, parameter in model.named_parameters()
            if id(parameter) in gains
            and not name.endswith("bias")
            and (id(parameter) in self._filled or _SKIP_GAIN.search(name))
        )
