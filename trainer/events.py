"""What a training yields, in order, and what its caller may request.

Same spec, same data, same numerics: equal events, but for the fields in `WALL_CLOCK`, and for how often and
between which events `CheckpointSaved` comes.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum
from typing import Literal, TypeAlias

#: The event fields that two equal trainings may differ in.
WALL_CLOCK = frozenset({"seconds", "environment", "path", "digest", "bytes"})


class StopRequest(Enum):
    """What the caller may `send` into a training between two events."""

    SAVE_AND_STOP = "save_and_stop"


Reason: TypeAlias = Literal["completed", "early_stopped", "diverged"]


@dataclass(frozen=True, slots=True)
class Started:
    """The first event. `first_step` is 0, or the checkpoint's step when resumed; `facts` are those of
    `trainer.training.facts`; `damaged`: paths of checkpoints that are damaged."""

    first_step: int
    epoch: int
    total_steps: int
    parameters: int
    warnings: tuple[str, ...] = ()
    environment: Mapping[str, str] = field(default_factory=dict)
    facts: Mapping[str, int | float | str] = field(default_factory=dict)
    damaged: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Stepped:
    """One optimizer step is done (`step` counts from 1). Costs no device sync."""

    step: int


@dataclass(frozen=True, slots=True)
class Progressed:
    """Something other than a training step moved: an evaluation batch, a decoded chunk."""

    what: str


@dataclass(frozen=True, slots=True)
class EpochFinished:
    """One evaluation period is done (`epoch` counts from 1); `metrics` may hold NaN and infinities.

    Standard metrics: train_loss, train_cost, train_accuracy, val_loss, val_accuracy, learning_rate.
    """

    epoch: int
    step: int
    metrics: Mapping[str, float]
    best: bool
    seconds: float


@dataclass(frozen=True, slots=True)
class Diagnosed:
    """A look inside the network after `step` steps, in period `epoch` (from 1): statistics by layer, the
    whole network under `network`. `trainer.evaluation.probe` says what each means."""

    epoch: int
    step: int
    layers: Mapping[str, Mapping[str, float]]


@dataclass(frozen=True, slots=True)
class CheckpointSaved:
    """A file is durable: `path` is absolute, `digest` is blake2b of its bytes (hex, 16 bytes).

    `last`: all of the training as it was after `step` steps, which may be some steps ago. `best`: the best
    weights by then, before the first `last` that refers to them.
    """

    kind: Literal["last", "best"]
    epoch: int
    step: int
    path: str
    digest: str
    bytes: int


@dataclass(frozen=True, slots=True)
class EvaluationFinished:
    """One of the spec's evaluations: scalars by full name (`test_accuracy`), files already written."""

    name: str
    metrics: Mapping[str, float]
    files: tuple["FileWritten", ...] = ()


@dataclass(frozen=True, slots=True)
class FileWritten:
    """A file that belongs to the job: `name` is its readable name, `path` is absolute."""

    name: str
    path: str
    digest: str
    bytes: int


@dataclass(frozen=True, slots=True)
class Finished:
    """The last event of a training that ended by itself.

    `metrics`: best_<monitor>, best_epoch, epochs (periods trained), best_val_accuracy, … and every
    evaluation's scalars.
    """

    reason: Reason
    metrics: Mapping[str, float]


Event: TypeAlias = (
    Started
    | Stepped
    | Progressed
    | Diagnosed
    | EpochFinished
    | CheckpointSaved
    | EvaluationFinished
    | Finished
)
