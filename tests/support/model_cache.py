"""What tests over many models and norms would do again and again: building a library's model, and working out
the shapes of a pass over the meta device. Both are done once, and repeated from memory.
"""

import copy
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache, lru_cache
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

import trainer.models.build
from trainer.models.cnn_mlp_resnet import Shape
from trainer.models.library import build_library_model
from trainer.spec.model import LibraryModel

#: Operator and arguments → shape, strides and type of each of its results.
_results: dict[Any, Any] = {}


@contextmanager
def built_once() -> Iterator[None]:
    """Inside, a library's model of the same seed and size as the last ones is a copy, bit for bit, and leaves the
    generator where building it does. Most of a build is random numbers for millions of weights."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(trainer.models.build, "build_library_model", _copy_of_build)
        yield


def _copy_of_build(spec: LibraryModel, shape: Shape, classes: int) -> nn.Module:
    device = torch.get_default_device().type
    model, generator = _build(spec, shape, classes, device, torch.initial_seed())
    torch.set_rng_state(generator)
    return copy.deepcopy(model)


# Large models have a few hundred megabytes, so only the last ones are kept.
@lru_cache(maxsize=2)
def _build(
    spec: LibraryModel, shape: Shape, classes: int, device: str, seed: int
) -> tuple[nn.Module, Tensor]:
    return build_library_model(spec, shape, classes), torch.get_rng_state()


@contextmanager
def remembered_shapes() -> Iterator[None]:
    """Inside, on the meta device, an operator that only computes returns what it returned before for tensors
    of the same shapes, strides and types. All others run as ever, and so does one that raised.

    PyTorch works out many shapes in Python, those of norms and of their gradients above all, and a model asks
    for the same ones again with every norm that is put into it.
    """
    with _RememberedShapes():  # type: ignore[no-untyped-call]
        yield


class _RememberedShapes(TorchDispatchMode):  # type: ignore[no-untyped-call]
    def __torch_dispatch__(
        self, func: Any, types: Any, args: Any = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        if not _only_computes(func):
            return func(*args, **kwargs)
        try:
            key = (func, _key(args), _key(tuple(kwargs.items())))
        except _NotOnMeta:
            return func(*args, **kwargs)
        if key in _results:
            return _empty(_results[key])
        result = func(*args, **kwargs)
        _results[key] = _describe(result)
        return result


class _NotOnMeta(Exception):
    """A tensor with values is among the arguments."""


@cache
def _only_computes(func: Any) -> bool:
    """New tensors are all that it returns: no argument, no part of one, and none is written to."""
    schema = func._schema
    aliases = [one.alias_info for one in (*schema.arguments, *schema.returns)]
    are_tensors = all(str(one.type) == "Tensor" for one in schema.returns)
    takes_tensors = any("Tensor" in str(one.type) for one in schema.arguments)
    return are_tensors and takes_tensors and not any(aliases)


def _key(value: Any) -> Any:
    if isinstance(value, Tensor):
        if not value.is_meta:
            raise _NotOnMeta
        return tuple(value.shape), value.stride(), value.dtype
    if isinstance(value, list | tuple):
        return tuple(map(_key, value))
    # 1 and 1.0 and True are equal, but give results of different types.
    return type(value), value


def _describe(result: Any) -> Any:
    """A gradient that nobody needs is None."""
    if isinstance(result, Tensor):
        return tuple(result.shape), result.stride(), result.dtype
    return None if result is None else [_describe(one) for one in result]


def _empty(description: Any) -> Any:
    if description is None:
        return None
    if isinstance(description, list):
        return tuple(map(_empty, description))
    shape, strides, dtype = description
    return torch.empty_strided(shape, strides, dtype=dtype, device="meta")
