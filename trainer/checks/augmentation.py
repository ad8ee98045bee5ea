"""Checks and warnings of a spec about its augmentations."""

from collections.abc import Iterator

from trainer.checks.context import Case
from trainer.spec import Flip, PaddedCrop, Problem, RandAugment, Rotate


def augmented_vectors(case: Case) -> Iterator[Problem]:
    if case.info.content == "vectors" and case.spec.augmentation:
        yield Problem(
            pointer="/augmentation/0/kind",
            detail=f"{case.spec.augmentation[0].kind} is for images but {case.info.name} has vectors",
            remedy="no augmentation, or a dataset of images",
        )


def reflected_too_far(case: Case) -> Iterator[Problem]:
    side = min(case.shape[1:])
    for index, one in enumerate(case.spec.augmentation):
        if isinstance(one, PaddedCrop) and one.fill == "reflect" and one.padding >= side:
            yield Problem(
                pointer=f"/augmentation/{index}/padding",
                detail=f"a reflected border must be smaller than the image's {side} pixels but padding "
                f"is {one.padding}",
                remedy=f"padding of at most {side - 1}, or fill: black",
            )


def wrong_augmentation(case: Case) -> Iterator[str]:
    name = case.info.name.lower()
    if not any(digits in name for digits in ("digits", "mnist")) or "fashion" in name:
        return
    for augmentation in case.spec.augmentation:
        if isinstance(augmentation, Flip):
            yield f"wrong augmentation: a {augmentation.axis} flip turns digits into other signs"
        if isinstance(augmentation, Rotate) and augmentation.degrees > 90:
            yield f"wrong augmentation: rotated by {augmentation.degrees:g}° a 6 is a 9"


def idle_rand_augment(case: Case) -> Iterator[str]:
    if any(isinstance(one, RandAugment) and one.magnitude == 0 for one in case.spec.augmentation):
        yield (
            "rand_augment at magnitude 0 does nothing but autocontrast and equalize, which have no "
            "magnitude"
        )


AUGMENTATION_CHECKS = (augmented_vectors, reflected_too_far)
AUGMENTATION_WARNINGS = (wrong_augmentation, idle_rand_augment)
