"""Follows one forward pass over the meta device: what of it still depends on the image.

An instance norm makes the mean of each channel its bias, whatever the image. What averages over all positions
behind it, with nothing but shifts, scales and sums over channels in between, is therefore constant.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from trainer.layers import drops
from trainer.surgery import SAMPLES, TensorMap, find_sites, on_meta


@dataclass(frozen=True, slots=True)
class Blindness:
    """`pooled`: norms whose averages over positions are used, and are constant. `is_total`: the outputs
    are constant too."""

    pooled: tuple[str, ...]
    is_total: bool


@dataclass(frozen=True, slots=True)
class _Mark:
    """Of a tensor that depends on the image. `norm`: its mean over positions does not, since this norm;
    `axis` is that of its channels."""

    norm: str | None = None
    axis: int = 1


_VARYING = _Mark()

_SHIFTS = frozenset(
    {"add", "add_", "sub", "sub_", "__add__", "__radd__", "__iadd__", "__sub__", "__isub__"}
)
_SCALES = frozenset({"mul", "mul_", "__mul__", "__rmul__", "__imul__", "div", "__truediv__"})
_COPIES = frozenset({"contiguous", "clone", "to", "float", "type_as", "dropout", "dropout_"})
_MOVES = frozenset({"permute", "transpose", "swapaxes", "movedim"})
_RESHAPES = frozenset({"reshape", "view", "flatten", "unflatten", "unsqueeze", "squeeze"})
_AVERAGES = frozenset({"mean", "sum"})
_POOLS = frozenset({"adaptive_avg_pool1d", "adaptive_avg_pool2d", "avg_pool1d", "avg_pool2d"})


def trace_blindness(
    meta_copy: nn.Module, example_shape: tuple[int, ...], removes_means: Callable[[str], bool]
) -> Blindness:
    """`meta_copy`, on the meta device, has its norms; `removes_means` says of which places they take out the
    mean of each channel of each image. What is not understood counts as depending on the image."""
    tracer = _BlindnessTracer(meta_copy, removes_means)
    meta_copy.train()
    with torch.no_grad(), on_meta():
        images = torch.empty((SAMPLES, *example_shape))
        tracer.marks[images] = _VARYING
        with tracer:
            output = meta_copy(images)
    return Blindness(tuple(dict.fromkeys(tracer.pooled)), tracer.marks.get(output) is None)


class _BlindnessTracer(TorchFunctionMode):
    def __init__(self, model: nn.Module, removes_means: Callable[[str], bool]) -> None:
        super().__init__()
        self.marks: TensorMap[_Mark] = TensorMap()
        self.pooled: list[str] = []
        for name, (module, site) in find_sites(model).items():
            if removes_means(name):
                module.register_forward_hook(self._leaving(name, site.channel_axis))
        for module in model.modules():
            if drops(module):
                module.register_forward_hook(self._keep_mark)

    def _leaving(self, name: str, axis: int) -> Any:
        def hook(module: nn.Module, args: Any, output: Tensor) -> None:
            if self.marks.get(output) is not None:
                self.marks[output] = _Mark(name, axis % output.ndim)

        return hook

    def _keep_mark(self, module: nn.Module, args: Any, output: Any) -> None:
        """Dropping keeps what is expected of the mean."""
        mark = self.marks.get(args[0]) if args and isinstance(args[0], Tensor) else None
        if mark is not None and isinstance(output, Tensor) and output.shape == args[0].shape:
            self.marks[output] = mark

    def __torch_function__(
        self, func: Any, types: Any, args: Any = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        inputs = list(_tensors([*args, *kwargs.values()]))
        marks = [self.marks.get(item) for item in inputs]
        result = func(*args, **kwargs)
        name = getattr(func, "__name__", "")
        if name == "__setitem__":
            if any(marks):
                self._set(args[0], _VARYING)
            return result
        for output in _tensors([result]):
            self._set(output, self._derive(name, inputs, marks, args, kwargs, output))
        return result

    def _set(self, output: Tensor, mark: _Mark | None) -> None:
        if mark is None:
            self.marks.drop(output)
            return
        self.marks[output] = mark
        # What is written into a part of a tensor is in the whole of it.
        if output._base is not None and self.marks.get(output._base) is None:
            self.marks[output._base] = _VARYING

    def _derive(
        self,
        name: str,
        inputs: Sequence[Tensor],
        marks: Sequence[_Mark | None],
        args: Any,
        kwargs: Mapping[str, Any],
        output: Tensor,
    ) -> _Mark | None:
        own = [mark for mark in marks if mark is not None]
        if not own:
            return None
        # A sum of two tensors with constant means has a constant mean; with one whose mean varies,
        # or whose channels lie on another axis, nothing is known.
        if any(mark.norm is None or mark.axis != own[0].axis for mark in own):
            return _VARYING
        mark = own[-1]
        x = next(item for item, known in zip(inputs, marks, strict=True) if known is not None)
        if _is_pooling(name, x, mark.axis, args, kwargs, output):
            self.pooled += [known.norm for known in own if known.norm is not None]
            return None
        # Whatever is not listed there (a ReLU, for one) makes the mean depend on the image again:
        # clipping values changes it by how they are spread.
        axis = _follow_axis(name, inputs, x, mark.axis, args, kwargs, output)
        return _VARYING if axis is None else replace(mark, axis=axis)


def _is_pooling(
    name: str, x: Tensor, axis: int, args: Any, kwargs: Mapping[str, Any], output: Tensor
) -> bool:
    """Whether it takes the mean over all positions of each channel."""
    if name in _POOLS:
        size = args[1] if len(args) > 1 else kwargs.get("kernel_size")
        whole = name.startswith("adaptive") or _pair(size) == tuple(x.shape[2:])
        return axis == 1 and whole and all(side == 1 for side in output.shape[2:])
    if name in _AVERAGES:
        axes = kwargs.get("dim", args[1] if len(args) > 1 else None)
        dropped = range(x.ndim) if axes is None else [one % x.ndim for one in _listed(axes)]
        return {0, axis}.issuperset(set(range(x.ndim)) - set(dropped))
    return False


def _pair(size: Any) -> tuple[int, ...]:
    return tuple(size) if isinstance(size, Iterable) else (size, size)


def _listed(axes: Any) -> list[int]:
    return list(axes) if isinstance(axes, Iterable) else [axes]


def _follow_axis(
    name: str,
    inputs: Sequence[Tensor],
    x: Tensor,
    axis: int,
    args: Any,
    kwargs: Mapping[str, Any],
    output: Tensor,
) -> int | None:
    """Where the channels are then; None where a mean over positions is not what it was."""
    if name in _COPIES:
        return axis
    if name in _SHIFTS:
        return axis if output.shape == x.shape else None
    if name in _SCALES:
        others = [item for item in inputs if item is not x]
        return axis if all(_is_per_channel(item, x, axis) for item in others) else None
    if name in _MOVES:
        return _moved(name, x.ndim, axis, args, kwargs)
    if name in _RESHAPES:
        return _reshaped(x, axis, output)
    if name == "linear":
        return axis if axis == x.ndim - 1 else None
    if name in ("conv1d", "conv2d"):
        pointwise = x.shape[2:] == output.shape[2:] and inputs[1][0, 0].numel() == 1
        return axis if axis == 1 and pointwise else None
    if name == "cat":
        along = kwargs.get("dim", args[1] if len(args) > 1 else 0)
        return axis if along % x.ndim == axis and len(inputs) == len(args[0]) else None
    return None


def _is_per_channel(values: Tensor, x: Tensor, axis: int) -> bool:
    """That they scale every position alike."""
    if values.numel() == 1 or (values.ndim == 1 and axis == x.ndim - 1):
        return True
    sides = dict(enumerate(values.shape, start=x.ndim - values.ndim))
    return all(side == 1 for place, side in sides.items() if place not in (0, axis))


def _moved(name: str, ndim: int, axis: int, args: Any, kwargs: Mapping[str, Any]) -> int | None:
    if kwargs:
        return None
    places = list(range(ndim))
    if name == "permute":
        given = args[1] if isinstance(args[1], Iterable) else args[1:]
        return [place % ndim for place in given].index(axis)
    first, second = (_listed(item) for item in args[1:3])
    if name == "movedim":
        if len(first) != 1:
            return None
        places.insert(second[0] % ndim, places.pop(first[0] % ndim))
        return places.index(axis)
    one, other = first[0] % ndim, second[0] % ndim
    places[one], places[other] = places[other], places[one]
    return places.index(axis)


def _reshaped(x: Tensor, axis: int, output: Tensor) -> int | None:
    """Where positions alone are put together or taken apart."""
    if output.ndim < 2 or output.shape[0] != x.shape[0]:
        return None
    if axis == 1 and output.shape[1] == x.shape[1]:
        return 1
    if axis == x.ndim - 1 and output.shape[-1] == x.shape[-1]:
        return output.ndim - 1
    return None


def _tensors(values: Iterable[Any]) -> Iterable[Tensor]:
    for value in values:
        if isinstance(value, Tensor):
            yield value
        elif isinstance(value, list | tuple):
            yield from _tensors(value)
