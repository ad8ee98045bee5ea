"""One library model under each norm: what the check says, and what a real training step gives."""

import json
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from multiprocessing.connection import Connection
from typing import Any

import torch
from torch import Tensor, nn

from trainer.checks.context import build_context
from trainer.checks.run import check
from trainer.errors import ModelError
from trainer.evaluation.losses import build_task
from trainer.layers.dropout import drops
from trainer.layers.kinds import has_weights
from trainer.models.build import build_bare_model, build_with_report, count_parameters
from trainer.optimization.optimizers import build_optimizer
from trainer.random_streams import seeded
from trainer.spec.builtin import BUILT_IN
from trainer.spec.dataset import DatasetInfo
from trainer.spec.job import JobSpec
from trainer.surgery.survey import Survey
from trainer.surgery.tracing import run_on_meta

NORMS: dict[str, dict[str, Any]] = {
    "none": {"kind": "none"},
    "batch": {"kind": "batch"},
    "layer": {"kind": "layer"},
    "instance": {"kind": "instance"},
    "group": {"kind": "group", "groups": 8},
    "rms": {"kind": "rms"},
}

#: The smallest at which the model runs is taken.
IMAGE_SIZES = (64, 96, 128, 160, 192, 224, 256, 288, 384)
BATCH = 4
#: The first moves the classifier only where that begins at zero; else it is the last.
MOST_STEPS = 2
LEARNING_RATE = 0.001


@dataclass(frozen=True, slots=True)
class Model:
    """`size` is None where no image size fits."""

    model: str
    size: int | None
    parameters: int


@dataclass(frozen=True, slots=True)
class Cell:
    """`norms` counts the layers that the norm was put in. `failure` says how an accepted spec did not
    train. `spread` is how much the class scores of different images differ, over their size;
    `gradient` that of the first layer over that of the last; both in the last step."""

    model: str
    norm: str
    accepted: bool
    norms: int = 0
    pointer: str | None = None
    layer: str | None = None
    reason: str | None = None
    failure: str | None = None
    spread: float | None = None
    gradient: float | None = None
    check_seconds: float = 0.0


def examine_model(name: str, most_parameters: int) -> Model:
    """Without a size where it runs at none, or has more parameters than that (0: any number)."""
    parameters = 0
    for size in IMAGE_SIZES:
        spec, info = _make_spec(name, NORMS["batch"], size), _colour(size)
        try:
            with torch.device("meta"):
                model = build_bare_model(spec, info)
            parameters = count_parameters(model)
            if 0 < most_parameters < parameters:
                return Model(name, None, parameters)
            run_on_meta(model, info.shape)
        except ModelError:
            continue
        return Model(name, size, parameters)
    return Model(name, None, parameters)


def measure_cells(model: Model, norms: Sequence[str]) -> Iterator[Cell]:
    assert model.size is not None
    info = _colour(model.size)
    # The same for every norm.
    survey = build_context(_make_spec(model.model, NORMS["batch"], model.size), info).survey
    for norm in norms:
        spec = _make_spec(model.model, NORMS[norm], model.size)
        began = time.perf_counter()
        report = check(spec, info)
        seconds = time.perf_counter() - began
        if report.problems:
            problem = report.problems[0]
            yield Cell(
                model.model, norm, False,
                pointer=problem.pointer, layer=problem.layer, reason=problem.detail,
                check_seconds=seconds,
            )  # fmt: skip
            continue
        try:
            spread, gradient = _train(spec, info, survey)
        except Exception as error:  # whatever a training may raise is what the table is to show
            failure = f"{type(error).__name__}: {error}".splitlines()[0]
            yield Cell(model.model, norm, True, failure=failure, check_seconds=seconds)
            continue
        layers = 0 if norm == "none" else len(report.layers)
        yield Cell(
            model.model, norm, True, layers,
            spread=spread, gradient=gradient, check_seconds=seconds,
        )  # fmt: skip


class _Untrained(Exception):
    """A step that was taken but taught nothing."""


def _train(spec: JobSpec, info: DatasetInfo, survey: Survey | None) -> tuple[float, float]:
    """The spread of the class scores, and the first layer's share of the gradient."""
    model, _ = build_with_report(spec, info, survey)
    task, optimizer = build_task(spec), build_optimizer(spec, model)
    model.train()
    for module in model.modules():
        if drops(module):
            module.training = False
    with seeded("order", 0):
        images, labels = torch.randn(BATCH, *info.shape), torch.arange(BATCH)
        order = _note_layers(model)
        for _ in range(MOST_STEPS):
            optimizer.zero_grad()
            outputs = model(images)
            loss = task.loss(task.predictions(outputs), labels)
            if not bool(loss.isfinite()):
                raise _Untrained(f"the loss is {float(loss)}")
            loss.backward()
            optimizer.step()
            first, last = (_gradient_size(layer) for layer in (order[0], order[-1]))
            if first > 0 and last > 0:
                return _measure_spread(model, images, outputs.detach()), first / last
    raise _Untrained("no gradient reaches the first layer")


def _note_layers(model: nn.Module) -> list[nn.Module]:
    """Filled, at the first forward pass, with the layers that have weights, in the order of their calls."""
    order: list[nn.Module] = []

    def note(module: nn.Module, args: tuple[Tensor, ...]) -> None:
        if module not in order:
            order.append(module)

    for module in model.modules():
        if has_weights(module):
            module.register_forward_pre_hook(note)
    return order


def _gradient_size(layer: nn.Module) -> float:
    gradient = getattr(layer.weight, "grad", None)
    return float(gradient.norm()) if isinstance(gradient, Tensor) else 0.0


def _measure_spread(model: nn.Module, images: Tensor, outputs: Tensor) -> float:
    """In double precision where it is near to that of rounding."""
    spread = _spread(outputs)
    if spread > 1e-3:
        return spread
    with torch.no_grad():
        return _spread(model.double()(images.double()))


def _spread(outputs: Tensor) -> float:
    size = float(outputs.abs().max())
    return float((outputs - outputs.mean(0)).abs().max()) / size if size else 0.0


def _make_spec(name: str, norm: dict[str, Any], size: int) -> JobSpec:
    return JobSpec.model_validate(
        {
            "dataset": {"name": "colour"},
            "model": {"name": name},
            "norm": norm,
            "optimizer": {"kind": "sgd", "lr": LEARNING_RATE, "momentum": 0.0},
            "training": {"epochs": 1, "batch_size": BATCH, "drop_last": True},
        }
    )


def _colour(size: int) -> DatasetInfo:
    changes = {"name": "colour", "shape": (3, size, size), "mean": (0.5,) * 3, "std": (0.25,) * 3}
    return DatasetInfo.model_validate({**BUILT_IN["digits"].model_dump(), **changes})


def send_lines(sender: Connection, name: str, most_parameters: int, norms: Sequence[str]) -> None:
    """JSON for the model, then for each of its cells; no cells where the model does not run or has more than
    `most_parameters` (0: any number)."""
    torch.set_num_threads(1)
    model = examine_model(name, most_parameters)
    sender.send(json.dumps(asdict(model)))
    if model.size is not None:
        for cell in measure_cells(model, norms):
            sender.send(json.dumps(asdict(cell)))
