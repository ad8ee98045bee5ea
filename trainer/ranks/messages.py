"""What the processes of one training send each other. Each side runs the same code for the same person, so objects
are pickled."""

import pickle
import time
import traceback
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from trainer.errors import RanksError
from trainer.events import CheckpointSaved


@dataclass(frozen=True, slots=True)
class Work:
    """What each rank trains; spec, info and numerics as JSON documents. `devices`: a torch device for each rank."""

    spec: Mapping[str, Any]
    info: Mapping[str, Any]
    numerics: Mapping[str, Any]
    datasets: Path
    folder: Path
    devices: tuple[str, ...]
    resume: tuple[CheckpointSaved, ...]
    initial: CheckpointSaved | None


@dataclass(frozen=True, slots=True)
class Logged:
    """A record of rank 0's log: warnings and worse."""

    level: int
    text: str


@dataclass(frozen=True, slots=True)
class Ended:
    """Rank 0 has no further event."""


@dataclass(frozen=True, slots=True)
class Failed:
    """A rank raised; `at` is the machine's monotonic clock, the same for all processes."""

    error: Exception
    text: str
    at: float = field(default_factory=time.monotonic)


@dataclass(frozen=True, slots=True)
class Exited:
    """From the process that has forked the ranks; `code` is negative for a signal."""

    rank: int
    code: int


def failed(error: Exception) -> Failed:
    """With the error itself, or where it can't travel, its words in the nearest kind of error that can."""
    text = "".join(traceback.format_exception(error))
    for kind in (None, *type(error).__mro__):
        try:
            sent = error if kind is None else kind(str(error))
            pickle.loads(pickle.dumps(sent))  # noqa: S301  what this process has just pickled
        except Exception:  # noqa: S112  whatever an error's own class raises
            continue
        if isinstance(sent, Exception):
            return Failed(sent, text)
    return Failed(RanksError(str(error)), text)
