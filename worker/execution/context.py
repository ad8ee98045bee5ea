"""What all jobs of a child have in common."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
from sqlalchemy.orm import Session, sessionmaker

from runtime.storage import Storage
from trainer.data import Data
from trainer.spec import DatasetInfo, DatasetSpec
from worker.execution.drain import Drain
from worker.execution.heartbeat import LeaseTiming
from worker.execution.space import Space


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
    # What the process takes of a GPU in all; None where nobody tells.
    gpu_bytes: Callable[[torch.device], int | None] = lambda device: None
    # Jobs train on the CPU instead: for tests and demonstrations.
    are_gpus_fake: bool = False
