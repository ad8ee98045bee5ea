"""Every arm of every preset on every dataset passes the network-aware check; the full ones, too, which nobody
has run: on the meta device they cost no memory."""

import pytest

from studies.presets import find_preset, presets
from studies.spec.expand import arm_name, expand, expand_trials
from trainer.checks.run import check
from trainer.spec.builtin import BUILT_IN
from trainer.spec.dataset import DatasetInfo

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
