"""Augmentation of whole batches, drawn for each image."""

from trainer.data.augmentation.build import Augmentation, build_augmentation
from trainer.data.augmentation.preview import draw_preview

__all__ = [
    "Augmentation",
    "build_augmentation",
    "draw_preview",
]
