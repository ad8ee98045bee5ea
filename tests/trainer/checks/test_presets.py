"""Every arm of every preset on every dataset passes the network-aware check; the full ones, too, which nobody
has run: on the meta device they cost no memory."""

from functools import cache

import pytest
from torch import nn

import trainer.checks.context
from studies.presets import find_preset, presets
from studies.spec.expand import arm_name, expand
from studies.spec.trials import expand_trials
from trainer.checks.run import check
from trainer.models.build import build_bare_model
from trainer.spec.builtin import BUILT_IN
from trainer.spec.dataset import DatasetInfo
from trainer.spec.job import JobSpec
from trainer.surgery.survey import survey_norms

SIZES = [
    (name, scale, dataset)
    for name, preset in presets().items()
    for scale, size in preset.scales.items()
    for dataset in size.datasets
]


def described(name: str, shape: tuple[int, int, int], train: int, test: int) -> DatasetInfo:
    return DatasetInfo(
        name=name,
        digest="0" * 32,
        shape=shape,
        classes=tuple(str(number) for number in range(1000 if name == "imagenet" else 10)),
        train_size=train,
        test_size=test,
        mean=(0.5,) * shape[0],
        std=(0.25,) * shape[0],
    )


ELSEWHERE = {
    "mnist": described("mnist", (1, 28, 28), 60_000, 10_000),
    "cifar10": described("cifar10", (3, 32, 32), 50_000, 10_000),
    "imagenet": described("imagenet", (3, 224, 224), 1_281_167, 50_000),
}


@cache
def bare_model(spec: JobSpec, info: DatasetInfo) -> nn.Module:
    return build_bare_model(spec, info)


def shared_bare_model(spec: JobSpec, info: DatasetInfo) -> nn.Module:
    """One for all arms that differ in nothing that a model with its own norms is made of."""
    parts = spec.model_dump(include={"model", "regularization", "init", "task"})
    dataset = {"name": info.name, "image_size": spec.dataset.image_size}
    return bare_model(
        JobSpec.model_validate({**parts, "dataset": dataset, "norm": {"kind": "none"}}), info
    )


surveyed = cache(survey_norms)


@pytest.fixture(autouse=True)
def _surveyed_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Arms differ in norms and numbers: their models are surveyed before those are looked at."""
    monkeypatch.setattr(trainer.checks.context, "build_bare_model", shared_bare_model)
    monkeypatch.setattr(trainer.checks.context, "survey_norms", surveyed)


@pytest.mark.parametrize(("name", "scale", "dataset"), SIZES)
def test_every_arm_of_a_preset_is_a_training_that_can_be(
    name: str, scale: str, dataset: str
) -> None:
    study = find_preset(name).study_spec(scale, dataset)
    info = BUILT_IN.get(dataset) or ELSEWHERE[dataset]
    arms = {arm_name(one.variant, one.point): one.spec for one in expand(study)}
    if scale == "full":
        # A network of fifty layers takes seconds: one point of each variant.
        arms = {name.partition(" · ")[0]: spec for name, spec in arms.items()}
    else:
        arms |= {arm_name(one.variant, one.point): one.spec for one in expand_trials(study)}
    for arm, spec in arms.items():
        assert check(spec, info).problems == (), arm
