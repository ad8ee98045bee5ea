"""A picture of a dataset: a row of training images for each class, with its name and count."""

import io
from collections.abc import Sequence
from pathlib import Path

import numpy
import numpy.typing
from PIL import Image, ImageDraw, ImageFont

from trainer.data.cache import load_part
from trainer.data.loading import ensure_decoded
from trainer.errors import DataError
from trainer.spec import MOST_CLASSES, ClassPictures, DatasetInfo

_GAP = 4
_LINE = 16
_NAME_CHARACTERS = 28
_INK, _PALE = "black", "#777777"

Bytes = numpy.typing.NDArray[numpy.uint8]


def draw_classes(wanted: ClassPictures, info: DatasetInfo, folder: Path) -> bytes:
    """PNG; `folder` holds the decoded datasets. The images are spread evenly over those of their class.

    Raises DataError where the set is not decoded, or has no images.
    """
    if info.content != "images":
        raise DataError(f"{info.name} has vectors, of which there is no picture")
    ensure_decoded(info, folder)
    images, labels = load_part(folder, info, "train")
    rows = [
        [_shown(images[row].numpy(), wanted.pixels) for row in chosen]
        for chosen in _choose(labels.numpy(), len(info.classes), wanted.images)
    ]
    sheet = _labelled(rows, wanted, info, labels.numpy()) if wanted.names else _plain(rows)
    content = io.BytesIO()
    sheet.save(content, format="PNG")
    return content.getvalue()


def _choose(labels: numpy.typing.NDArray[numpy.int64], classes: int, count: int) -> list[list[int]]:
    chosen = []
    for label in range(min(classes, MOST_CLASSES)):
        rows = numpy.flatnonzero(labels == label)
        places = numpy.linspace(0, max(len(rows) - 1, 0), min(count, len(rows)))
        chosen.append(rows[places.round().astype(numpy.int64)].tolist())
    return chosen


def _shown(pixels: Bytes, longer_side: int) -> Image.Image:
    """Enlarged by whole factors, so that pixels stay pixels; other than one or three channels become
    their mean."""
    if len(pixels) not in (1, 3):
        pixels = pixels.mean(0, keepdims=True).round().astype(numpy.uint8)
    image = Image.fromarray(pixels[0] if len(pixels) == 1 else pixels.transpose(1, 2, 0))
    factor = longer_side / max(image.size)
    if factor >= 1:
        size = (image.width * int(factor), image.height * int(factor))
        return image.resize(size, Image.Resampling.NEAREST)
    size = (max(1, round(image.width * factor)), max(1, round(image.height * factor)))
    return image.resize(size, Image.Resampling.LANCZOS)


def _plain(rows: Sequence[Sequence[Image.Image]]) -> Image.Image:
    """Without gaps: row i, column j are where equal cells put them."""
    width, height = next(image.size for row in rows for image in row)
    sheet = Image.new("RGB", (width * max(map(len, rows)), height * len(rows)), "white")
    for number, row in enumerate(rows):
        for column, image in enumerate(row):
            sheet.paste(image, (column * width, number * height))
    return sheet


def _labelled(
    rows: Sequence[Sequence[Image.Image]],
    wanted: ClassPictures,
    info: DatasetInfo,
    labels: numpy.typing.NDArray[numpy.int64],
) -> Image.Image:
    width, height = next(image.size for row in rows for image in row)
    font = _font()
    counts = numpy.bincount(labels, minlength=len(info.classes))
    texts = [
        (_shortened(name), f"{counts[at]:,}") for at, name in enumerate(info.classes[: len(rows)])
    ]
    margin = int(max(font.getlength(text) for pair in texts for text in pair)) + 3 * _GAP
    left_out = len(info.classes) - len(rows)
    pitch = max(height, 2 * _LINE) + _GAP
    size = (
        margin + wanted.images * (width + _GAP),
        _GAP + len(rows) * pitch + (_LINE + _GAP if left_out else 0),
    )
    sheet = Image.new("RGB", size, "white")
    pen = ImageDraw.Draw(sheet)
    for number, (row, (name, count)) in enumerate(zip(rows, texts, strict=True)):
        top = _GAP + number * pitch
        pen.text((_GAP, top), name, fill=_INK, font=font)
        pen.text((_GAP, top + _LINE), count, fill=_PALE, font=font)
        for column, image in enumerate(row):
            sheet.paste(image, (margin + column * (width + _GAP), top))
    if left_out:
        note = f"and {left_out:,} more classes"
        pen.text((_GAP, _GAP + len(rows) * pitch), note, fill=_PALE, font=font)
    return sheet


def _font() -> ImageFont.FreeTypeFont:
    """DejaVu Sans comes with matplotlib, and has more of the world's letters than Pillow's own."""
    # Here, because no training needs it.
    import matplotlib

    path = Path(matplotlib.get_data_path()) / "fonts" / "ttf" / "DejaVuSans.ttf"
    return ImageFont.truetype(path, 12)


def _shortened(name: str) -> str:
    return name if len(name) <= _NAME_CHARACTERS else f"{name[: _NAME_CHARACTERS - 1]}…"
