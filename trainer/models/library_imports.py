"""Imports of torchvision and timm that leave out PyTorch's compiler."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from types import ModuleType
from typing import Any

import torch


@contextmanager
def without_compiler() -> Iterator[None]:
    """Lets torchvision and timm be imported without PyTorch's compiler: that is 60 % of their time, and 100 MB.

    Torchvision takes one function from it, which only detection with deterministic algorithms calls: here the
    compiler is imported at that call. Timm marks a function of one model (naflexvit) as not to be compiled.
    """
    name = "torch._dynamo.utils"
    if name in sys.modules:
        yield
        return
    stand_in = ModuleType(name)
    vars(stand_in)["is_compile_supported"] = _is_compile_supported
    disable = torch.compiler.disable
    sys.modules[name] = stand_in
    torch.compiler.disable = _leave_as_it_is  # type: ignore[assignment]
    try:
        yield
    finally:
        del sys.modules[name]
        torch.compiler.disable = disable


def _leave_as_it_is(function: Any = None, **_: Any) -> Any:
    return _leave_as_it_is if function is None else function


def _is_compile_supported(device_type: str) -> bool:
    return bool(import_module("torch._dynamo.utils").is_compile_supported(device_type))


def import_from_timm(package: str, module: str) -> ModuleType:
    """A module of one of timm's packages, without what the package imports besides: `timm.optim` configures
    PyTorch's compiler for one of its optimizers."""
    name = f"timm.{package}"
    with without_compiler():
        import timm

        if name in sys.modules:
            return import_module(f"{name}.{module}")
        stand_in = ModuleType(name)
        stand_in.__path__ = [f"{folder}/{package}" for folder in timm.__path__]
        sys.modules[name] = stand_in
        try:
            return import_module(f"{name}.{module}")
        finally:
            del sys.modules[name]
