"""A model compiled by torch.compile. PyTorch's compiler is imported only when a spec asks for it."""

import os
import shlex
import shutil
import sys
from collections.abc import Callable

import torch
from torch import Tensor, nn

from trainer.errors import MachineError


def compile_model(model: nn.Module, device: torch.device) -> Callable[[Tensor], Tensor]:
    """Shares modules and parameters with the model, which stays as it is. Each shape is compiled at its first
    batch, in training and in evaluation.

    Raises MachineError where a CPU's kernels can't be compiled.
    """
    if device.type == "cpu":
        _require_cxx_compiler()
    # In this process, so that no pool of processes outlives a job; and no kernel is chosen by a stopwatch.
    os.environ.setdefault("TORCHINDUCTOR_COMPILE_THREADS", "1")
    os.environ.setdefault("TORCHINDUCTOR_DETERMINISTIC", "1")
    # Graphs are limited in number per function, and those of this process's earlier trainings count.
    torch.compiler.reset()
    # One graph for each shape, and all of the model in it, or an error: a part that is left out, or compiled for any
    # size, would depend on which shape came first, and a resumed training would round otherwise.
    return torch.compile(model, fullgraph=True, dynamic=False)


def _require_cxx_compiler() -> None:
    command = os.environ.get("CXX") or ("clang++" if sys.platform == "darwin" else "g++")
    if shutil.which(shlex.split(command)[0]) is None:
        raise MachineError(
            f"torch.compile needs a C++ compiler for a CPU, but {command} was not found: install g++, or name "
            "another one in CXX; or train with compile: false"
        )
