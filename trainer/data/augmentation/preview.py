"""A picture grid of augmented training images: what a training would see."""

import io
from pathlib import Path

import numpy
import torch
from PIL import Image
from torch import Tensor

from trainer.data import cut, ensure_decoded, load_part, prepare
from trainer.data.augmentation.build import build_augmentation
from trainer.errors import DataError
from trainer.random_streams import generator, seed_globals
from trainer.spec import DatasetInfo, DatasetSpec, Preview

#: Smaller images are shown larger, by whole factors, so that pixels stay pixels.
_SHOWN_PIXELS = 64
_GAP = 4


def draw_preview(spec: Preview, info: DatasetInfo, folder: Path) -> bytes:
    """PNG; `folder` holds the decoded datasets. Images are of the training split of split seed 0. Raises
    DataError where the set is not decoded, or has no images."""
    if info.content != "images":
        raise DataError(f"{info.name} has vectors, of which there is no picture")
    pixels = _choose(spec, info, folder)
    augment = build_augmentation(spec.augmentation)
    columns = [pixels]
    for draw in range(spec.draws):
        seed_globals("augmentation", spec.seed, draw)
        columns.append(pixels if augment is None else augment(pixels))
    return _as_png(_arrange(torch.stack(columns, 1)))


def _choose(spec: Preview, info: DatasetInfo, folder: Path) -> Tensor:
    """N, C, H, W in [0, 1]: random rows of the training split, as the spec prepares them."""
    ensure_decoded(info, folder)
    options = {"image_size": spec.image_size, "binarize": spec.binarize}
    dataset = DatasetSpec.model_validate({"name": info.name, **options})
    images, labels = load_part(folder, info, "train")
    rows = torch.from_numpy(cut(labels.numpy(), dataset, info).train)
    order = torch.randperm(len(rows), generator=generator("order", spec.seed))
    return prepare(images, rows[order[: spec.images]], dataset).float() / 255


def _arrange(grid: Tensor) -> Tensor:
    """Rows, columns, C, H, W → C, height, width, with white gaps; other than one or three channels
    become their mean."""
    if grid.shape[2] not in (1, 3):
        grid = grid.mean(2, keepdim=True)
    factor = max(1, -(-_SHOWN_PIXELS // max(grid.shape[3:])))
    grid = grid.repeat_interleave(factor, 3).repeat_interleave(factor, 4)
    rows, columns, channels, height, width = grid.shape
    sheet = torch.ones(channels, rows * (height + _GAP) + _GAP, columns * (width + _GAP) + 2 * _GAP)
    for row in range(rows):
        for column in range(columns):
            top = _GAP + row * (height + _GAP)
            # A wider gap behind the first column, which is not augmented.
            left = _GAP + column * (width + _GAP) + (_GAP if column else 0)
            sheet[:, top : top + height, left : left + width] = grid[row, column]
    return sheet


def _as_png(sheet: Tensor) -> bytes:
    pixels = (sheet.clamp(0, 1) * 255).round().to(torch.uint8).permute(1, 2, 0).numpy()
    content = io.BytesIO()
    Image.fromarray(numpy.squeeze(pixels)).save(content, format="PNG")
    return content.getvalue()
