"""Trainings with one technique each against the loop written out in plain torch, step by step."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from tests.support.trainings import last_of, load_data, make_spec, run
from trainer.data.augmentation.build import build_augmentation
from trainer.models.build import build_model
from trainer.optimization.mixup import build_mixer
from trainer.random_streams import generator, seed_globals
from trainer.spec.job import JobSpec
from trainer.training.batch_order import BatchSampler

LR, MOMENTUM = 0.05, 0.9


def unchanged(spec: JobSpec, step: int, images: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
    return images, labels


@dataclass(frozen=True)
class Technique:
    """What the spec says, and what it does at each place of the loop; weights are those of layers."""

    options: dict[str, Any]
    batch: Callable[[JobSpec, int, Tensor, Tensor], tuple[Tensor, Tensor]] = unchanged
    loss: Callable[[Tensor, Tensor], Tensor] = functional.cross_entropy
    penalty: Callable[[Tensor], Tensor] = lambda weight: weight.sum() * 0
    gradients: Callable[[list[Tensor], int], None] = lambda gradients, step: None
    before: Callable[[Tensor], Tensor] = lambda weight: weight
    after: Callable[[Tensor], Tensor] = lambda weight: weight


def regularized(kind: str, value: float | None = None, **options: Any) -> dict[str, Any]:
    options |= {} if value is None else {"value": value}
    return {"regularization": [{"kind": kind, **options}]}


def mix(spec: JobSpec, step: int, images: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
    seed_globals("mixing", spec.seed, step)
    mixer = build_mixer(spec, 10)
    assert mixer is not None
    return mixer(images, labels)


def augment(spec: JobSpec, step: int, images: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
    seed_globals("augmentation", spec.seed, step)
    augmentation = build_augmentation(spec.augmentation)
    assert augmentation is not None
    return augmentation(images), labels


def flip(spec: JobSpec, step: int, images: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
    return images.flip(3), labels


def clip_norm(gradients: list[Tensor], step: int) -> None:
    length = torch.cat([one.flatten() for one in gradients]).norm()
    for one in gradients:
        one.mul_((0.1 / length).clamp(max=1))


def clip_values(gradients: list[Tensor], step: int) -> None:
    for one in gradients:
        one.clamp_(-0.01, 0.01)


def add_noise(gradients: list[Tensor], step: int) -> None:
    source = generator("gradient_noise", 0, step)
    for one in gradients:
        one.add_(torch.randn(one.shape, generator=source), alpha=(0.3 / (1 + step) ** 0.55) ** 0.5)


def shorten_rows(weight: Tensor) -> Tensor:
    return weight * (0.5 / weight.norm(dim=1, keepdim=True)).clamp(max=1)


def threshold(weight: Tensor) -> Tensor:
    return weight.sign() * (weight.abs() - LR / (1 - MOMENTUM) * 0.01).clamp(min=0)


TECHNIQUES = {
    "none": Technique({}),
    "l1": Technique(regularized("l1", 0.01), penalty=lambda w: 0.01 * w.abs().sum()),
    "l2": Technique(regularized("l2", 0.1), penalty=lambda w: 0.05 * (w**2).sum()),
    "elastic_net": Technique(
        regularized("elastic_net", 0.1, l1_ratio=0.2),
        penalty=lambda w: 0.02 * w.abs().sum() + 0.04 * (w**2).sum(),
    ),
    "weight_decay": Technique(
        regularized("weight_decay", 0.1), penalty=lambda w: 0.05 * (w**2).sum()
    ),
    "weight_decay decoupled": Technique(
        regularized("weight_decay", 0.1, mode="decoupled"), before=lambda w: w * (1 - LR * 0.1)
    ),
    "l1 proximal": Technique(regularized("l1", 0.01, proximal=True), after=threshold),
    "max_norm": Technique(regularized("max_norm", 0.5), after=shorten_rows),
    "clipping": Technique(regularized("gradient_clipping", 0.1), gradients=clip_norm),
    "clipping by value": Technique(
        regularized("gradient_clipping", 0.01, by="value"), gradients=clip_values
    ),
    "gradient_noise": Technique(regularized("gradient_noise", eta=0.3), gradients=add_noise),
    "label_smoothing": Technique(
        regularized("label_smoothing", 0.3),
        loss=lambda outputs, labels: functional.cross_entropy(outputs, labels, label_smoothing=0.3),
    ),
    "dropout": Technique(regularized("dropout", p=0.3, input_p=0.1)),
    "drop_connect": Technique(regularized("drop_connect", p=0.3)),
    "mixup": Technique(regularized("mixup"), batch=mix),
    "cutmix": Technique(regularized("cutmix"), batch=mix),
    "flip": Technique({"augmentation": [{"kind": "flip", "p": 1.0}]}, batch=flip),
    "rotate": Technique({"augmentation": [{"kind": "rotate", "degrees": 30.0}]}, batch=augment),
}


def make_job(**options: Any) -> JobSpec:
    """Three epochs of four steps."""
    return make_spec(
        model={"name": "mlp", "hidden": [12], "activation": "tanh"},
        norm={"kind": "none"},
        optimizer={"kind": "sgd", "lr": LR, "momentum": MOMENTUM},
        **options,
    )


def write_out(spec: JobSpec, technique: Technique) -> Iterator[dict[str, Tensor]]:
    """The parameters after each step."""
    data = load_data(spec)
    model = build_model(spec, data.info)
    order = BatchSampler(spec.training, len(data.train), spec.seed, torch.device("cpu"))
    velocities = [torch.zeros_like(one) for one in model.parameters()]
    for step in range(order.plan().total_steps):
        rows = order.indices(step)
        images, labels = data.train.images[rows].float() / 255, data.train.labels[rows]
        images, targets = technique.batch(spec, step, images, labels)
        seed_globals("dropout", spec.seed, step)
        outputs = model((images - data.info.mean[0]) / data.info.std[0])
        weights = [one for one in model.parameters() if one.ndim == 2]
        cost = technique.loss(outputs, targets) + sum(map(technique.penalty, weights))
        gradients = list(torch.autograd.grad(cost, list(model.parameters())))
        technique.gradients(gradients, step)
        move(model, gradients, velocities, technique)
        yield {name: one.detach().clone() for name, one in model.named_parameters()}


def move(
    model: nn.Module, gradients: list[Tensor], velocities: list[Tensor], technique: Technique
) -> None:
    with torch.no_grad():
        for one, gradient, velocity in zip(model.parameters(), gradients, velocities, strict=True):
            velocity.mul_(MOMENTUM).add_(gradient)
            if one.ndim == 2:
                one.copy_(technique.after(technique.before(one) - LR * velocity))
            else:
                one.sub_(LR * velocity)


def saved_state(spec: JobSpec, folder: Any) -> dict[str, Any]:
    saved = last_of(run(spec, folder / "attempt-1"))
    assert saved.step == 12
    state: dict[str, Any] = torch.load(saved.path, weights_only=True)["state"]
    return state


def furthest(found: dict[str, Tensor], expected: dict[str, Tensor]) -> float:
    assert found.keys() == expected.keys()
    return max((found[name] - one).abs().max().item() for name, one in expected.items())


@pytest.mark.parametrize("name", TECHNIQUES)
def test_a_training_with_a_technique_is_the_loop_that_is_written_out(name, tmp_path):
    technique = TECHNIQUES[name]
    spec = make_job(**technique.options)
    *_, expected = write_out(spec, technique)
    assert furthest(saved_state(spec, tmp_path)["model"], expected) < 1e-6
    if technique.options:
        *_, plain = write_out(make_job(), TECHNIQUES["none"])
        assert furthest(expected, plain) > 1e-3


def test_a_training_with_a_proximal_l1_ends_with_exact_zeros(tmp_path):
    zeros = {}
    for name in ("l1", "l1 proximal"):
        spec = make_job(**TECHNIQUES[name].options)
        weight = saved_state(spec, tmp_path / name)["model"]["linear1.weight"]
        zeros[name] = (weight == 0).double().mean().item()
    assert zeros["l1"] == 0
    assert zeros["l1 proximal"] > 0.3


def test_a_training_with_ema_keeps_the_moving_average_of_its_steps(tmp_path):
    spec = make_job(**regularized("ema", decay=0.8))
    first, *rest = write_out(spec, TECHNIQUES["none"])
    for after in rest:
        first = {name: 0.8 * one + 0.2 * after[name] for name, one in first.items()}
    assert furthest(saved_state(spec, tmp_path)["average"]["model"], first) < 1e-6


def test_a_training_with_swa_keeps_the_mean_of_its_last_periods(tmp_path):
    spec = make_job(**regularized("swa", start=0.4))
    steps = list(write_out(spec, TECHNIQUES["none"]))
    expected = {name: (one + steps[11][name]) / 2 for name, one in steps[7].items()}
    assert furthest(saved_state(spec, tmp_path)["average"]["model"], expected) < 1e-6
