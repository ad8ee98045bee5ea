"""Models whose studies are trained channels-last lose no digits by it, against float64, and resume as exactly."""

import copy
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from tests.support.catalogue import BASE, DIAGNOSTICS, OPTIMIZERS, REGULARIZERS
from tests.support.trainer_specs import DIGITS, make_spec
from tests.support.trainings import last_of, load_data, outcome
from trainer.events import Stepped, StopRequest
from trainer.models.build import build_model
from trainer.random_streams import seed_globals
from trainer.spec.job import CHANNELS_LAST, JobSpec, Numerics
from trainer.training.loop import train

LAST = Numerics(memory_format="channels_last")


def draw(size: int, mean: float) -> Tensor:
    source = torch.Generator().manual_seed(2)
    return torch.randn(32, 1, size, size, generator=source) + mean


def hold_constant(model: nn.Module) -> nn.Module:
    """The first convolution's first channel is 1234.567 everywhere: nothing is left of it but rounding."""
    first = next(module for module in model.modules() if isinstance(module, nn.Conv2d))
    with torch.no_grad():
        first.weight[0] = 0
        first.bias = nn.Parameter(torch.zeros(first.out_channels))
        first.bias[0] = 1234.567
    return model


def outputs(model: nn.Module, x: Tensor) -> list[Tensor]:
    """In training, then in evaluation with the statistics that this moved, and the statistics."""
    model = copy.deepcopy(model)
    made = [model.train()(x).detach(), model.eval()(x).detach()]
    running = [value for name, value in model.named_buffers() if "running" in name]
    return [one.double() for one in (*made, *running)]


@pytest.mark.parametrize(
    ("nasty", "size"), [("plain", 8), ("mean of 1000", 32), ("constant channel", 32)]
)
@pytest.mark.parametrize(("name", "norm"), sorted(CHANNELS_LAST))
def test_channels_last_is_as_exact_as_contiguous_against_float64(name, norm, nasty, size):
    spec = make_spec(
        {"name": name, "width": 16}, norm, dataset={"name": "digits", "image_size": size}
    )
    model, x = build_model(spec, DIGITS), draw(size, 1000.0 if nasty == "mean of 1000" else 0.0)
    if nasty == "constant channel":
        hold_constant(model)
    exact = outputs(copy.deepcopy(model).double(), x.double())
    contiguous = outputs(model, x)
    last = outputs(
        copy.deepcopy(model).to(memory_format=torch.channels_last),
        x.contiguous(memory_format=torch.channels_last),
    )
    for found, usual, expected in zip(last, contiguous, exact, strict=True):
        scale = expected.abs().max()
        error, least = ((one - expected).abs().max() / scale for one in (found, usual))
        assert error <= max(2 * least, 2e-6)


def with_techniques(*names: str) -> list[dict[str, Any]]:
    return [REGULARIZERS[name] for name in names]


#: Everything that keeps a state, or changes maps and weights.
JOBS: dict[str, dict[str, Any]] = {
    "cnn": {
        **BASE,
        "regularization": with_techniques("dropout", "drop_block", "max_norm", "mixup", "ema"),
        "optimizer": OPTIMIZERS["adam"],
        "diagnostics": DIAGNOSTICS["epoch"],
    },
    "alexnet_small": {
        **BASE,
        "model": {"name": "alexnet_small", "width": 4},
        "regularization": with_techniques("swa"),
        "optimizer": OPTIMIZERS["sgd"],
    },
}


@pytest.mark.parametrize("name", JOBS)
def test_a_training_in_channels_last_resumes_exactly(name, tmp_path):
    spec = JobSpec.model_validate(JOBS[name])
    data = load_data(spec)
    whole = list(train(spec, data, tmp_path / "whole" / "attempt-1", numerics=LAST))
    training = train(spec, data, tmp_path / "stopped" / "attempt-1", numerics=LAST)
    events = []
    for event in training:
        events.append(event)
        if isinstance(event, Stepped) and event.step == 6:
            break
    saved = [training.send(StopRequest.SAVE_AND_STOP), *training]
    seed_globals("elsewhere", 1)
    resumed = train(
        spec, data, tmp_path / "stopped" / "attempt-2", numerics=LAST, resume=[last_of(saved)]
    )
    events += resumed
    assert outcome(events) == outcome(whole)
