"""Checks and warnings of a spec about its augmentations."""

from collections.abc import Iterator

from trainer.checks.context import CheckContext
from trainer.spec import Flip, PaddedCrop, Problem, RandAugment, Rotate


def check_augmentation_has_images(context: CheckContext) -> Iterator[Problem]:
    if context.info.content == "vectors" and context.spec.augmentation:
        yield Problem(
            pointer="/augmentation/0/kind",
            detail=f"{context.spec.augmentation[0].kind} is for images but {context.info.name} has vectors",
            remedy="no augmentation, or a dataset of images",
        )


def check_reflected_padding(context: CheckContext) -> Iterator[Problem]:
    side = min(context.shape[1:])
    for index, one in enumerate(context.spec.augmentation):
        if isinstance(one, PaddedCrop) and one.fill == "reflect" and one.padding >= side:
            yield Problem(
                pointer=f"/augmentation/{index}/padding",
                detail=f"a reflected border must be smaller than the image's {side} pixels but padding "
                f"is {one.padding}",
                remedy=f"padding of at most {side - 1}, or fill: black",
            )


def warn_label_changing_augmentation(context: CheckContext) -> Iterator[str]:
    name = context.info.name.lower()
    if not any(digits in name for digits in ("digits", "mnist")) or "fashion" in name:
        return
    for augmentation in context.spec.augmentation:
        if isinstance(augmentation, Flip):
            yield f"wrong augmentation: a {augmentation.axis} flip turns digits into other signs"
        if isinstance(augmentation, Rotate) and augmentation.degrees > 90:
            yield f"wrong augmentation: rotated by {augmentation.degrees:g}° a 6 is a 9"


def warn_idle_rand_augment(context: CheckContext) -> Iterator[str]:
    if any(
        isinstance(one, RandAugment) and one.magnitude == 0 for one in context.spec.augmentation
    ):
        yield (
            "rand_augment at magnitude 0 does nothing but autocontrast and equalize, which have no "
            "magnitude"
        )


AUGMENTATION_CHECKS = (check_augmentation_has_images, check_reflected_padding)
AUGMENTATION_WARNINGS = (warn_label_changing_augmentation, warn_idle_rand_augment)
