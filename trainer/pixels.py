"""Encoded images to arrays, and what arrays of pixels amount to. Knows no files and no torch."""

import io
import warnings
from typing import Any

import numpy
import numpy.typing
from PIL import Image, UnidentifiedImageError

from trainer.errors import DataError

_CHUNK = 1024

Pixels = numpy.typing.NDArray[numpy.uint8]

#: PIL's modes that hold one 8-bit grey value, perhaps with transparency, which is dropped.
_GREY = frozenset({"1", "L", "LA", "La"})
#: PIL's modes of more than 8 bits, which uint8 cannot hold.
_DEEP = ("I", "F")


def to_pixels(content: bytes, where: str, channels: int | None, size: int | None = None) -> Pixels:
    """uint8 C, H, W; `channels` as the set's first image had, None for the first itself.

    A grey image in a coloured set gets three equal channels; a coloured one in a grey set is a
    DataError, as is what PIL cannot read; `where` names the image in the message.
    """
    try:
        with warnings.catch_warnings(), Image.open(io.BytesIO(content)) as image:
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            wanted = _wanted_mode(image.mode, channels, where)
            converted: Any = image.convert(wanted)
    except (UnidentifiedImageError, OSError, SyntaxError, ValueError) as error:
        raise DataError(f"{where} is not a readable image: {error}") from None
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise DataError(f"{where} is too large: {error}") from None
    if size is not None:
        converted = converted.resize((size, size), Image.Resampling.BILINEAR)
    array = numpy.asarray(converted, dtype=numpy.uint8)
    return array[None] if array.ndim == 2 else array.transpose(2, 0, 1)


def _wanted_mode(mode: str, channels: int | None, where: str) -> str:
    if mode.startswith(_DEEP):
        raise DataError(f"{where} has mode {mode!r} but 8 bits per channel are needed")
    grey = mode in _GREY
    if channels == 1 and not grey:
        raise DataError(f"{where} has colour (mode {mode!r}) but the first image is grey")
    return "L" if channels == 1 or (channels is None and grey) else "RGB"


def moments(
    images: numpy.typing.NDArray[Any],
) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Mean and standard deviation per channel: of [0, 1] pixels, or of features as they are (float32), to
    six decimals, which every machine agrees on.

    A constant channel has standard deviation 1: dividing by it must change nothing.
    """
    if images.dtype == numpy.uint8:
        return pixel_moments(images)
    values = images.astype(numpy.float64)
    deviation = values.std((0, 2, 3)).round(6)
    deviation[deviation == 0] = 1.0
    return tuple(values.mean((0, 2, 3)).round(6).tolist()), tuple(deviation.tolist())


def pixel_moments(images: Pixels) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Of [0, 1] pixels of N, C, H, W, from exact whole sums."""
    channels = images.shape[1]
    counts = numpy.zeros((channels, 256), dtype=numpy.int64)
    for start in range(0, len(images), _CHUNK):
        for channel in range(channels):
            chunk = images[start : start + _CHUNK, channel]
            counts[channel] += numpy.bincount(chunk.ravel(), minlength=256)
    values = numpy.arange(256)
    total = counts.sum(1)
    mean = (counts @ values) / total
    deviation = numpy.sqrt(numpy.maximum((counts @ values**2) / total - mean**2, 0)) / 255
    deviation[deviation == 0] = 1.0
    return tuple((mean / 255).tolist()), tuple(deviation.tolist())
