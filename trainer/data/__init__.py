"""From a dataset's source to tensors on the device."""

from trainer.data.batches import Examples, Standardize, memory_format
from trainer.data.cache import load_part
from trainer.data.class_images import draw_classes
from trainer.data.decoding import decode
from trainer.data.loading import Data, apply_shift, ensure_decoded, load, prepare
from trainer.data.splits import Sizes, cut, share_out, split_sizes

__all__ = [
    "Data",
    "Examples",
    "Sizes",
    "Standardize",
    "apply_shift",
    "cut",
    "decode",
    "draw_classes",
    "ensure_decoded",
    "load",
    "load_part",
    "memory_format",
    "prepare",
    "share_out",
    "split_sizes",
]
