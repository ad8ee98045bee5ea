"""Passes over the meta device for less: the shape of an operator's result is worked out once per process.

PyTorch works out many shapes in Python, those of norms above all, at up to a millisecond each. Models repeat their
blocks, and a model is asked about again with every norm that is put into it.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from functools import cache
from inspect import isfunction
from typing import Any

import torch
import torch._refs.nn.functional

# The first convolution on the meta device imports it: a quarter of a second that a worker spends before it forks.
import torch.fx.experimental.symbolic_shapes
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

#: Operator and arguments → shape, strides and type of each of its results.
_results: dict[Any, Any] = {}
#: Less than a kilobyte each. The largest models have some hundreds, so this is rarely reached.
_MOST_RESULTS = 20_000


@contextmanager
def on_meta() -> Iterator[None]:
    """Tensors that are made inside have a shape and nothing else."""
    _keep_compiler_out()
    with torch.device("meta"), RememberedShapes():  # type: ignore[no-untyped-call]
        yield


class RememberedShapes(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Inside, on the meta device, an operator that only computes returns empty tensors like those that it returned
    before for tensors of the same shapes, strides and types, and one that has filled such a tensor fills the next
    without being asked. All others run as ever; one that raises does so again."""

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        # Else the first operator inside imports the compiler, to keep it out of this class.
        return False

    def __torch_dispatch__(
        self, func: Any, types: Any, args: Any = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        fills = _fills(func)
        if not fills and not _only_computes(func):
            return func(*args, **kwargs)
        try:
            key = (func, _key(args), _key(tuple(kwargs.items())))
        except _NotDescribed:
            return func(*args, **kwargs)
        if (description := _results.get(key)) is not None:
            # A tensor of the meta device has no values that could be written.
            return args[0] if fills else _empty(description)
        result = func(*args, **kwargs)
        # Not of `zeros_like(x, device="cpu")`, say: that is a tensor with values.
        if not all(_is_described(part) for part in _tensors(result)):
            return result
        if len(_results) >= _MOST_RESULTS:
            _results.clear()
        _results[key] = _describe(result)
        return result


@cache
def _keep_compiler_out() -> None:
    """PyTorch's shape functions are decorated with `_disable_dynamo`, which imports the compiler at the first call
    (1.3 CPU seconds, 90 MB) and caches its answer on the decorated function. The answer is set here beforehand.

    The decorated functions are found in the closures of their wrappers. One that isn't, after an upgrade, works as
    ever and imports the compiler.
    """
    modules = (torch._refs, torch._refs.nn.functional)
    to_visit: list[Any] = [part for module in modules for part in vars(module).values()]
    visited = set()
    while to_visit:
        function = to_visit.pop()
        if isfunction(function) and function not in visited:
            visited.add(function)
            vars(function).setdefault("__dynamo_disable", function)
            for cell in function.__closure__ or ():
                with suppress(ValueError):  # an empty cell
                    to_visit.append(cell.cell_contents)


class _NotDescribed(Exception):
    """A tensor with values, or a sparse one, is among the arguments."""


@cache
def _only_computes(func: Any) -> bool:
    """It is given tensors and returns new ones alone: no argument, no view of one, and it writes to none."""
    schema = func._schema
    takes_tensors = any("Tensor" in str(argument.type) for argument in schema.arguments)
    returns_tensors = all(str(returned.type) == "Tensor" for returned in schema.returns)
    aliases = [part.alias_info for part in (*schema.arguments, *schema.returns)]
    return takes_tensors and returns_tensors and not any(aliases)


@cache
def _fills(func: Any) -> bool:
    """It writes values to its first argument, `add_` or `normal_` say, and returns that: neither one that changes
    the shape or strides of a tensor, nor one that writes to others."""
    schema = func._schema
    name = schema.name.rpartition("::")[2]
    written = [argument.alias_info is not None for argument in schema.arguments]
    return (
        name.endswith("_")
        and not name.startswith("_")
        and torch.Tag.inplace_view not in func.tags
        and written[:1] == [True]
        and not any(written[1:])
        and [str(returned.type) for returned in schema.returns] == ["Tensor"]
    )


def _key(value: Any) -> Any:
    if isinstance(value, Tensor):
        if not _is_described(value):
            raise _NotDescribed
        return tuple(value.shape), value.stride(), value.dtype
    if isinstance(value, list | tuple):
        return tuple(map(_key, value))
    # 1, 1.0 and True are equal and hash alike, but give results of different types.
    return type(value), value


def _tensors(result: Any) -> Iterator[Tensor]:
    parts = result if isinstance(result, list | tuple) else (result,)
    return (part for part in parts if isinstance(part, Tensor))


def _is_described(tensor: Tensor) -> bool:
    """Whether shape, strides and type say all of it: it is on the meta device, and not sparse."""
    return tensor.is_meta and tensor.layout is torch.strided


def _describe(result: Any) -> Any:
    """None stands for a gradient that nobody needs."""
    if isinstance(result, Tensor):
        return tuple(result.shape), result.stride(), result.dtype
    return None if result is None else [_describe(part) for part in result]


def _empty(description: Any) -> Any:
    if description is None:
        return None
    if isinstance(description, list):
        return tuple(map(_empty, description))
    shape, strides, dtype = description
    return torch.empty_strided(shape, strides, dtype=dtype, device="meta")
