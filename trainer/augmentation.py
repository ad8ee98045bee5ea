"""Augmentations: on whole batches, drawn per sample, on the images' device. Knows no datasets.

Images are floats N, C, H, W in [0, 1]. Chance comes from the device's global generator, which the
caller has seeded. Neighbouring geometric augmentations are one resampling: one matrix per sample.
"""

from collections.abc import Callable, Sequence
from itertools import groupby
from typing import assert_never

import torch
from torch import Tensor
from torch.nn import functional

from trainer.spec import AugmentationSpec, Brightness, Contrast, Flip, Rotate, Scale, Translate

Augmentation = Callable[[Tensor], Tensor]


def build_augmentation(specs: Sequence[AugmentationSpec]) -> Augmentation | None:
    """All of them in the order given; None where there are none."""
    if not specs:
        return None
    steps = [
        _build_step(tuple(group), geometric)
        for geometric, group in groupby(
            specs, lambda spec: isinstance(spec, Rotate | Flip | Scale | Translate)
        )
    ]

    def augment(images: Tensor) -> Tensor:
        for step in steps:
            images = step(images)
        return images

    return augment


def _build_step(specs: tuple[AugmentationSpec, ...], geometric: bool) -> Augmentation:
    if not geometric:
        return lambda images: _recolour(images, specs)
    if all(isinstance(spec, Flip) for spec in specs):
        return lambda images: _flip_exactly(images, specs)
    return lambda images: _resample(images, specs)


def _uniform(images: Tensor, low: float, high: float) -> Tensor:
    """One number per sample."""
    return torch.rand(len(images), device=images.device) * (high - low) + low


def _recolour(images: Tensor, specs: tuple[AugmentationSpec, ...]) -> Tensor:
    for spec in specs:
        match spec:
            case Contrast():
                factor = _uniform(images, 1 - spec.amount, 1 + spec.amount).view(-1, 1, 1, 1)
                mean = images.mean((1, 2, 3), keepdim=True)
                images = (images - mean) * factor + mean
            case Brightness():
                added = _uniform(images, -spec.amount, spec.amount)
                images = images + added.view(-1, 1, 1, 1)
            case Rotate() | Flip() | Scale() | Translate():
                raise AssertionError(spec)
            case _:
                assert_never(spec)
        images = images.clamp(0, 1)
    return images


def _flip_exactly(images: Tensor, specs: tuple[AugmentationSpec, ...]) -> Tensor:
    """Without resampling, which rounds."""
    for spec in specs:
        assert isinstance(spec, Flip)
        flipped = images.flip(3 if spec.axis == "horizontal" else 2)
        images = torch.where(_chosen(images, spec.p).view(-1, 1, 1, 1), flipped, images)
    return images


def _chosen(images: Tensor, p: float) -> Tensor:
    return torch.rand(len(images), device=images.device) < p


def _resample(images: Tensor, specs: tuple[AugmentationSpec, ...]) -> Tensor:
    """Bilinear, black outside. Each output pixel looks up where it came from: inverses, in reverse."""
    lookup = torch.eye(3, device=images.device).expand(len(images), 3, 3)
    for spec in specs:
        lookup = lookup @ _inverse(spec, images)
    grid = functional.affine_grid(lookup[:, :2].to(images), list(images.shape), align_corners=False)
    return functional.grid_sample(images, grid, padding_mode="zeros", align_corners=False)


def _inverse(spec: AugmentationSpec, images: Tensor) -> Tensor:
    """N, 3, 3, in coordinates where the image reaches from -1 to 1 both ways."""
    matrix = torch.eye(3, device=images.device).repeat(len(images), 1, 1)
    match spec:
        case Rotate():
            angle = _uniform(images, -spec.degrees, spec.degrees).deg2rad()
            # Pixels of an oblong image are not square in these coordinates.
            aspect = images.shape[3] / images.shape[2]
            matrix[:, 0, 0] = matrix[:, 1, 1] = angle.cos()
            matrix[:, 0, 1] = angle.sin() / aspect
            matrix[:, 1, 0] = -angle.sin() * aspect
        case Flip():
            axis = 0 if spec.axis == "horizontal" else 1
            matrix[:, axis, axis] = 1 - 2 * _chosen(images, spec.p).to(matrix)
        case Scale():
            matrix[:, 0, 0] = matrix[:, 1, 1] = 1 / _uniform(images, spec.low, spec.high)
        case Translate():
            # The whole image is 2 wide in these coordinates.
            matrix[:, 0, 2] = 2 * _uniform(images, -spec.fraction, spec.fraction)
            matrix[:, 1, 2] = 2 * _uniform(images, -spec.fraction, spec.fraction)
        case Contrast() | Brightness():
            raise AssertionError(spec)
        case _:
            assert_never(spec)
    return matrix
