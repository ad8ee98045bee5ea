"""What a resumed training needs to equal an uninterrupted one, on disk."""

import io
import logging
import time
from collections import OrderedDict
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from runtime.files import DamagedFile, UnreadableFile, read_verified
from trainer.events import CheckpointSaved, Reason
from trainer.files import write_file
from trainer.models import build_model
from trainer.spec import DatasetInfo, JobSpec

log = logging.getLogger(__name__)

_FORMAT = 2


@dataclass(frozen=True, slots=True)
class Best:
    """Where the best weights lie: `path` is relative to the job's folder, the parent of its attempts."""

    epoch: int
    metrics: Mapping[str, float]
    path: str
    digest: str


@dataclass(frozen=True, slots=True, eq=False)
class BestWeights:
    """The best weights in memory: a file holds them once a checkpoint refers to them."""

    epoch: int
    step: int
    metrics: Mapping[str, float]
    weights: Mapping[str, Tensor]


@dataclass(frozen=True, slots=True)
class SavedState:
    """All that differs between a training at some step and a fresh one; nothing else.

    Random numbers are no part of it: every stream restarts from (seed, step). `sums` are the
    accumulators of the period under way; `watches` and `average` are what the stopping rules and the
    averaged weights remember, as they say it; `reason` is set once training is over.
    """

    model: Mapping[str, Tensor]
    optimizer: Mapping[int, Any]
    step: int
    epoch: int
    sums: Tensor
    watches: Any
    average: Any
    best: Best | BestWeights | None
    reason: Reason | None


@dataclass(frozen=True, slots=True)
class Restored:
    """A usable checkpoint, if there was one, and what a person should know about it; `damaged`: paths of damaged ones."""

    state: SavedState | None
    environment: Mapping[str, str]
    warnings: tuple[str, ...]
    damaged: tuple[str, ...]


class CheckpointFolder:
    """The checkpoints that one attempt writes into its folder, by a thread of their own: training never
    waits for the disk, unless a checkpoint is due before the one before it is complete."""

    def __init__(self, folder: Path, environment: Mapping[str, str]) -> None:
        self._folder, self._environment = folder, environment
        self._saves, self._saved_at = 0, time.monotonic()
        self._thread = ThreadPoolExecutor(1, "checkpoints")
        self._writing: Future[list[CheckpointSaved]] | None = None
        self._complete: list[CheckpointSaved] = []
        self._best: tuple[BestWeights, Best] | None = None
        self._is_failing = False

    def is_due(self, every_seconds: float) -> bool:
        return time.monotonic() - self._saved_at >= every_seconds

    def begin(self, state: SavedState, *, is_needed: bool = False) -> None:
        """Nothing of the state may change afterwards. Waits for the checkpoint before.

        One that isn't needed for what comes next and can't be written, on a full disk, is a warning: training
        goes on, and the next one is due in its turn.
        """
        self._collect()
        self._saved_at = time.monotonic()
        self._saves += 1
        write = self._write if is_needed else self._try_to_write
        self._writing = self._thread.submit(write, state, self._saves)

    @property
    def is_complete(self) -> bool:
        """Whether there is a checkpoint to announce."""
        return bool(self._complete) or (self._writing is not None and self._writing.done())

    def announce(self) -> Iterator[CheckpointSaved]:
        """What was not announced before, once it is durable: waits for it. Raises what made that impossible."""
        self._collect()
        while self._complete:
            yield self._complete.pop(0)

    def close(self) -> None:
        """Deletes what was not announced, and so has no name."""
        self._thread.shutdown()
        with suppress(Exception):
            self._collect()
        for saved in self._complete:
            with suppress(OSError):
                Path(saved.path).unlink(missing_ok=True)

    def _collect(self) -> None:
        if self._writing is not None:
            writing, self._writing = self._writing, None
            self._complete += writing.result()

    def _try_to_write(self, state: SavedState, number: int) -> list[CheckpointSaved]:
        try:
            saved = self._write(state, number)
        except OSError as error:
            # Once, until one is written again: a disk stays full for longer than a few checkpoints.
            if not self._is_failing:
                log.warning(
                    "the checkpoint of step %d could not be written (%s): training goes on, and would start again "
                    "from the checkpoint before if it were interrupted",
                    state.step,
                    error.strerror or error,
                )
            self._is_failing = True
            return []
        self._is_failing = False
        return saved

    def _write(self, state: SavedState, number: int) -> list[CheckpointSaved]:
        saved: list[CheckpointSaved] = []
        best = state.best
        if isinstance(best, BestWeights):
            # The best weights are written before the state that refers to them: a crash in between
            # leaves a file that nothing names, where the other order would leave a checkpoint whose
            # best weights do not exist.
            if self._best is None or self._best[0] is not best:
                saved.append(self._write_best(best))
                name = f"{self._folder.name}/{Path(saved[0].path).name}"
                self._best = best, Best(best.epoch, best.metrics, name, saved[0].digest)
            best = self._best[1]
        # The number of the save is part of the name: a training that is asked to stop right after a
        # checkpoint saves the same step again, and a file that SQL knows by its digest must never
        # be overwritten.
        path = self._folder / f"last-{number:04d}-step-{state.step:08d}.pt"
        try:
            return [*saved, save_state(replace(state, best=best), self._environment, path)]
        except BaseException:
            # On a full disk, what nothing names takes the room of what comes next.
            for one in saved:
                Path(one.path).unlink(missing_ok=True)
                # The next checkpoint writes them again.
                self._best = None
            raise

    def _write_best(self, best: BestWeights) -> CheckpointSaved:
        """Parameters and buffers only: a plain state dict."""
        path = self._folder / f"best-epoch-{best.epoch:05d}.pt"
        written = write_file(path, _serialized(best.weights))
        return CheckpointSaved(
            "best", best.epoch, best.step, written.path, written.digest, written.bytes
        )


def save_state(state: SavedState, environment: Mapping[str, str], path: Path) -> CheckpointSaved:
    assert not isinstance(state.best, BestWeights)
    content = {
        "format": _FORMAT,
        "environment": dict(environment),
        "state": {
            **_shallow(state),
            # Plain dicts, since `weights_only` loads no classes.
            "best": None if state.best is None else _shallow(state.best),
        },
    }
    written = write_file(path, _serialized(content))
    return CheckpointSaved(
        "last", state.epoch, state.step, written.path, written.digest, written.bytes
    )


def copied(value: Any) -> Any:
    """Of nested tensors, on the CPU: what training changes afterwards changes the copy no more."""
    match value:
        case Tensor():
            return value.detach().to("cpu", copy=True)
        case OrderedDict():
            copy = OrderedDict((name, copied(part)) for name, part in value.items())
            # The versions of a state dict's modules.
            vars(copy).update(vars(value))
            return copy
        case dict():
            return {name: copied(part) for name, part in value.items()}
        case list() | tuple():
            return type(value)(copied(part) for part in value)
        case _:
            return value


def restore(resume: Sequence[CheckpointSaved], job_folder: Path, device: torch.device) -> Restored:
    """The newest `last` checkpoint that is whole, together with the best weights it refers to."""
    warnings: list[str] = []
    damaged: list[str] = []
    for saved in resume:
        if saved.kind != "last":
            continue
        try:
            state, environment = _load_state(saved, job_folder, device)
        except DamagedFile as error:
            warnings.append(f"the checkpoint of step {saved.step} is not usable: {error}")
            # What another host or another version may read stays.
            if not isinstance(error, UnreadableFile):
                damaged.append(saved.path)
        else:
            return Restored(state, environment, tuple(warnings), tuple(damaged))
    if warnings:
        warnings.append("no checkpoint is usable: training starts from the beginning")
    return Restored(None, {}, tuple(warnings), tuple(damaged))


def load_best(best: Best, job_folder: Path, device: torch.device) -> dict[str, Tensor]:
    weights: dict[str, Tensor] = _deserialized(
        read_verified(job_folder / best.path, best.digest), device
    )
    return weights


def load_weights(saved: CheckpointSaved, device: torch.device) -> dict[str, Tensor]:
    """Parameters and buffers of either kind of checkpoint. Raises DamagedFile."""
    content = _deserialized(read_verified(Path(saved.path), saved.digest), device)
    weights: dict[str, Tensor] = content if saved.kind == "best" else content["state"]["model"]
    return weights


def restore_model(spec: JobSpec, info: DatasetInfo, path: Path) -> nn.Module:
    """The model with the weights of a `best` checkpoint, on the CPU, in eval mode."""
    model = build_model(spec, info)
    model.load_state_dict(_deserialized(path.read_bytes(), torch.device("cpu")))
    return model.eval()


def _load_state(
    saved: CheckpointSaved, job_folder: Path, device: torch.device
) -> tuple[SavedState, Mapping[str, str]]:
    content = _deserialized(read_verified(Path(saved.path), saved.digest), device)
    if content["format"] != _FORMAT:
        raise UnreadableFile(f"format {content['format']} is not {_FORMAT}")
    values = content["state"]
    best = None if values["best"] is None else Best(**values["best"])
    # A state whose best weights are damaged could go on but not be evaluated at the end. Noticed here, it
    # counts as damaged itself, and the checkpoint before it is tried.
    if best is not None:
        read_verified(job_folder / best.path, best.digest)
    state = SavedState(**{**values, "best": best})
    return state, content["environment"]


def _serialized(value: Any) -> memoryview:
    buffer = io.BytesIO()
    torch.save(value, buffer)
    return buffer.getbuffer()


def _deserialized(content: bytes, device: torch.device) -> Any:
    # `weights_only` refuses pickled code: a checkpoint may lie where others can write.
    return torch.load(io.BytesIO(content), map_location=device, weights_only=True)


def _shallow(value: SavedState | Best) -> dict[str, Any]:
    """`dataclasses.asdict` without its deep copies."""
    return {field.name: getattr(value, field.name) for field in fields(value)}
