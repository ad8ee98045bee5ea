"""What is remembered of each tensor of a traced forward pass: which layers it comes from, and how many
channels it has, wherever they lie."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Generic, TypeVar

from torch import Tensor, nn

from trainer.layers import has_weights

#: Values and their number stay, so a bias before is a bias after.
SHAPE_FUNCTIONS = frozenset(
    {"permute", "transpose", "reshape", "view", "flatten", "contiguous", "movedim"}
    | {"unsqueeze", "squeeze"}
)
#: What they return are parts of what they are given.
_REARRANGING = SHAPE_FUNCTIONS | {"unflatten", "unbind", "__getitem__", "select", "narrow"}
_DIVIDING = frozenset({"chunk", "split", "tensor_split"})
#: Sums over an axis that two tensors share.
_PRODUCTS = frozenset(
    {"matmul", "__matmul__", "__rmatmul__", "mm", "bmm", "addmm", "baddbmm", "einsum"}
    | {"linear", "conv1d", "conv2d", "conv3d", "scaled_dot_product_attention"}
)

Value = TypeVar("Value")


class TensorMap(Generic[Value]):
    """By the identity of a tensor; tensors are kept alive, so that identities stay unique."""

    def __init__(self) -> None:
        self._entries: dict[int, tuple[Tensor, Value]] = {}

    def __setitem__(self, tensor: Tensor, value: Value) -> None:
        self._entries[id(tensor)] = (tensor, value)

    def get(self, tensor: Tensor) -> Value | None:
        entry = self._entries.get(id(tensor))
        return entry[1] if entry is not None else None

    def drop(self, tensor: Tensor) -> None:
        self._entries.pop(id(tensor), None)


class Sources:
    """The convolutions and linear layers whose outputs a tensor is made of by functions alone: pooling,
    activations, sums. Another layer with weights in between ends the trace."""

    def __init__(self) -> None:
        self._sources: TensorMap[frozenset[str]] = TensorMap()

    def of(self, tensor: Tensor) -> frozenset[str]:
        return self._sources.get(tensor) or frozenset()

    def begin(self, output: Tensor, names: Iterable[str]) -> None:
        self._sources[output] = frozenset(names)

    def follow(self, function: str, inputs: Sequence[Tensor], outputs: Sequence[Tensor]) -> None:
        # A product with a matrix of parameters is a layer, though written as a function.
        has_weights = any(isinstance(item, nn.Parameter) and item.ndim > 1 for item in inputs)
        sources: frozenset[str] = frozenset()
        if not (function in _PRODUCTS and has_weights):
            sources = sources.union(*(self.of(item) for item in inputs))
        for output in outputs:
            self._sources[output] = sources


@dataclass(frozen=True, slots=True)
class ChannelTag:
    """`count`: as many as the layer that made the tensor gave; None where that is not known. `is_split`:
    an axis beside the last holds parts of the channels (the heads of attention)."""

    count: int | None
    is_split: bool = False

    def entering(self, width: int) -> "ChannelTag":
        """As a layer with weights of this width sees it: fewer channels are a part of them, and more are
        several parts or positions put together."""
        if self.count is None or width == self.count:
            return self
        return ChannelTag(width, is_split=width < self.count)


class Channels:
    """How many channels each tensor has, through whatever moves, divides and joins axes."""

    def __init__(self) -> None:
        self._tags: TensorMap[ChannelTag] = TensorMap()

    def of(self, tensor: Tensor) -> ChannelTag:
        return self._tags.get(tensor) or ChannelTag(None)

    def begin(self, module: nn.Module, x: Tensor, output: Tensor, channels_last: bool) -> None:
        """Behind a convolution, a linear layer or a norm, which sees all or a part of the channels."""
        axis = -1 if channels_last else 1
        if has_weights(module):
            self._tags[output] = self._through_layer(x, output, axis)
        else:
            self._tags[output] = self.of(x).entering(x.shape[axis])

    def _through_layer(self, x: Tensor, output: Tensor, axis: int) -> ChannelTag:
        tag = self.of(x).entering(x.shape[axis])
        # The product of heads comes to a layer when the heads are joined again.
        return ChannelTag(output.shape[axis], tag.is_split and tag.count is not None)

    def follow(self, function: str, inputs: Sequence[Tensor], outputs: Sequence[Tensor]) -> None:
        if function == "linear":
            self._tags[outputs[0]] = self._through_layer(inputs[0], outputs[0], -1)
            return
        tags = [(item, tag) for item in inputs if (tag := self._tags.get(item)) is not None]
        for output in outputs:
            tag = _derive(function, tags, output)
            if tag is None:
                self._tags.drop(output)
            else:
                self._tags[output] = tag


def _derive(
    function: str, inputs: Sequence[tuple[Tensor, ChannelTag]], output: Tensor
) -> ChannelTag | None:
    if not inputs:
        return None
    if function in _PRODUCTS:
        return ChannelTag(None, any(_is_split(item, tag) for item, tag in inputs))
    x, tag = next((pair for pair in inputs if pair[1].count is not None), inputs[0])
    if function in _DIVIDING:
        return _divide(x, tag, output)
    if function in _REARRANGING or tag.count is None or tag.count in output.shape:
        return tag
    return None


def _is_split(x: Tensor, tag: ChannelTag) -> bool:
    return tag.is_split or (tag.count is not None and x.shape[-1] < tag.count)


def _divide(x: Tensor, tag: ChannelTag, output: Tensor) -> ChannelTag:
    """Gates, and queries, keys and values, are parts of a layer's channels that stand for themselves."""
    for before, after in zip(x.shape, output.shape, strict=True):
        if before != after and before == tag.count:
            return replace(tag, count=after)
    return tag
