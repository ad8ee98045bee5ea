"""Augmentations: on whole batches, drawn per sample, on the images' device.

Images are floats N, C, H, W in [0, 1]. Chance comes from the global generators, which the caller has
seeded. Neighbouring geometric augmentations are one resampling: one matrix per sample.
"""

from collections.abc import Callable, Iterator, Sequence
from itertools import groupby
from typing import assert_never

from torch import Tensor

from trainer.data.augmentation.auto_augment import augment_randomly, augment_trivially
from trainer.data.augmentation.geometry import (
    Affine,
    crop_padded,
    draw_uniform,
    erase,
    flip_exactly,
    resample_affinely,
)
from trainer.spec import (
    AugmentationSpec,
    Brightness,
    Contrast,
    Flip,
    PaddedCrop,
    RandAugment,
    RandomErasing,
    Rotate,
    Scale,
    Translate,
    TrivialAugment,
)

Augmentation = Callable[[Tensor], Tensor]


def build_augmentation(specs: Sequence[AugmentationSpec]) -> Augmentation | None:
    """All of them in the order given; None where there are none."""
    if not specs:
        return None
    steps = tuple(_build_steps(specs))

    def augment(images: Tensor) -> Tensor:
        for step in steps:
            images = step(images)
        return images

    return augment


def _build_steps(specs: Sequence[AugmentationSpec]) -> Iterator[Augmentation]:
    for is_affine, group in groupby(specs, lambda spec: isinstance(spec, Affine)):
        members = tuple(group)
        if is_affine:
            yield _build_affine(tuple(one for one in members if isinstance(one, Affine)))
        else:
            yield from (_build_single(one) for one in members)


def _build_affine(specs: tuple[Affine, ...]) -> Augmentation:
    if all(isinstance(spec, Flip) for spec in specs):
        return lambda images: flip_exactly(images, specs)
    return lambda images: resample_affinely(images, specs)


def _build_single(spec: AugmentationSpec) -> Augmentation:
    match spec:
        case Contrast():
            return lambda images: _change_contrast(images, spec.amount)
        case Brightness():
            return lambda images: _change_brightness(images, spec.amount)
        case PaddedCrop():
            return lambda images: crop_padded(images, spec)
        case RandAugment():
            return lambda images: augment_randomly(images, spec)
        case TrivialAugment():
            return augment_trivially
        case RandomErasing():
            return lambda images: erase(images, spec)
        case Rotate() | Flip() | Scale() | Translate():
            raise AssertionError(spec)
        case _:
            assert_never(spec)


def _change_contrast(images: Tensor, amount: float) -> Tensor:
    factor = draw_uniform(images, 1 - amount, 1 + amount).view(-1, 1, 1, 1)
    mean = images.mean((1, 2, 3), keepdim=True)
    return ((images - mean) * factor + mean).clamp(0, 1)


def _change_brightness(images: Tensor, amount: float) -> Tensor:
    return (images + draw_uniform(images, -amount, amount).view(-1, 1, 1, 1)).clamp(0, 1)
