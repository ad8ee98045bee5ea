"""What all jobs of a child have in common."""

import mmap
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
from sqlalchemy.orm import Session, sessionmaker

from runtime.storage import Storage
from runtime.tracing import NO_TRACES, Traces
from store.jobs import AssignedDevice
from trainer.data import Data
from trainer.spec import DatasetInfo, DatasetSpec
from worker.execution.heartbeat import LeaseTiming
from worker.execution.space import Space


class Drain:
    """One byte that the parent and all its children share: work is to be put down.

    Made before the fork. Neither side ever waits: setting and reading a byte need no lock.
    """

    def __init__(self) -> None:
        self._shared = mmap.mmap(-1, 1)

    def begin(self) -> None:
        """Safe inside a signal handler."""
        self._shared[0] = 1

    @property
    def begun(self) -> bool:
        return self._shared[0] != 0


@dataclass(frozen=True, slots=True)
class ExecutionContext:
    """What a job needs besides its assignment; made once per child, of the process `parent`, the worker `instance`."""

    sessions: sessionmaker[Session]
    host: str
    storage: Storage
    space: Space
    data_roots: tuple[Path, ...]
    parent: int
    load: Callable[[DatasetSpec, DatasetInfo], Data]
    timing: LeaseTiming
    drain: Drain
    instance: str | None = None
    traces: Traces = NO_TRACES
    # What the process takes of a GPU in all; None where nobody tells.
    gpu_bytes: Callable[[torch.device], int | None] = lambda device: None
    # Jobs train on the CPU instead: for tests and demonstrations.
    are_gpus_fake: bool = False

    def torch_device(self, device: AssignedDevice) -> torch.device:
        # A file's tensors can't be mapped to `cpu:0`: the CPU has no number in torch.
        if device.kind == "cpu" or self.are_gpus_fake:
            return torch.device("cpu")
        return torch.device("cuda", device.number)
