"""Encoded images to arrays, and what arrays of pixels amount to."""

import io
import warnings
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

import numpy
import numpy.typing
from PIL import Image, ImageColor, UnidentifiedImageError

from trainer.data.sources.records import printable
from trainer.errors import DataError, UnreadableImage

#: How many bytes of pixels are counted at once.
_CHUNK_BYTES = 4 * 2**20

Pixels = numpy.typing.NDArray[numpy.uint8]

#: PIL's modes that hold one 8-bit grey value, perhaps with transparency.
_GREY = frozenset({"1", "L", "LA", "La"})
#: PIL's modes of more than 8 bits, which uint8 cannot hold.
_DEEP = ("I", "F")

#: How many bytes a strip takes, at four a pixel.
STRIP_BYTES = 4 * 2**20

_ORIENTATION = 0x0112
#: How to turn an image whose EXIF orientation is the key so that it is upright.
_UPRIGHT: Mapping[int | None, Image.Transpose] = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}

#: What a reader may have done to an image. `grey`: stored in colour, with three equal channels.
Change: TypeAlias = Literal["turned", "composed", "first_frame", "resized", "grey"]


@dataclass(frozen=True, slots=True)
class Encoded:
    """An image that is not read yet: number `number` of its part; `name` says where it lies."""

    part: str
    number: int
    name: str
    load: Callable[[], bytes]

    @property
    def where(self) -> str:
        return f"image {self.number} of {self.part} ({printable(self.name)})"


@dataclass(frozen=True, slots=True)
class Decoded:
    """uint8 C, H, W: one channel if the image is grey, three if it has colour. `cost`: the bytes of the
    decoded image before it was resized."""

    pixels: Pixels
    cost: int


class Reader:
    """Reads a set's images alike, all of the size of the first; counts what it changed."""

    def __init__(self, size: int | None = None, background: str = "white") -> None:
        self.size, self.background = size, background
        self.changes: Counter[Change] = Counter()
        self._first: tuple[tuple[int, int], str] | None = None

    def read(self, encoded: Encoded) -> Decoded:
        """Raises UnreadableImage for what PIL cannot read, and DataError for what cannot be used."""
        content, where = encoded.load(), encoded.where
        try:
            with warnings.catch_warnings():
                # Of metadata that PIL doesn't understand; pixels come with errors.
                warnings.simplefilter("ignore")
                warnings.simplefilter("error", Image.DecompressionBombWarning)
                return self._decode(content, where)
        except (DataError, MemoryError):
            raise
        except UnidentifiedImageError:
            raise UnreadableImage(
                f"{where} is not a readable image: its format is none of those that Normlab reads"
            ) from None
        except (Image.DecompressionBombError, Image.DecompressionBombWarning):
            limit = f"{Image.MAX_IMAGE_PIXELS:,} pixels"
            raise UnreadableImage(f"{where} is too large: it has more than {limit}") from None
        except Exception as error:  # PIL's plugins let errors of any class through on damaged files
            raise UnreadableImage(f"{where} is not a readable image: {error}") from None

    def _decode(self, content: bytes, where: str) -> Decoded:
        with Image.open(io.BytesIO(content)) as image:
            if image.mode.startswith(_DEEP):
                raise DataError(
                    f"{where} has mode {image.mode!r} but 8 bits per channel are needed"
                )
            self._require_size(image.size, where, final=False)
            # PIL turns TIFF files by itself while it loads them.
            by_itself = _orientation(image) if image.format == "TIFF" else None
            image.load()
            flat = self._upright(self._flatten(image), _orientation(image), by_itself)
            if _has_more_frames(image):
                self.changes["first_frame"] += 1
        mode = image.mode
        # A large one need not stay beside its array.
        del image
        self._require_size(flat.size, where, final=True)
        cost = flat.width * flat.height * 3
        pixels = _to_array(self._resize(flat))
        if len(pixels) == 1 and mode not in _GREY:
            self.changes["grey"] += 1
        return Decoded(pixels, cost)

    def _require_size(self, size: tuple[int, int], where: str, *, final: bool) -> None:
        """Asked before the image is decoded, when it may yet be turned, and of the `final` one."""
        if self.size is not None:
            return
        if self._first is None:
            if final:
                self._first = (size, where)
            return
        first, name = self._first
        if size != first and (final or size != first[::-1]):
            raise DataError(
                f"{where} is {size[0]} × {size[1]} pixels but {name} is {first[0]} × {first[1]}: "
                "all images of a set must be equal in shape; register with a `size` to resize them"
            )

    def _flatten(self, image: Image.Image) -> Image.Image:
        """Grey or RGB, what is transparent laid over the background."""
        if not image.has_transparency_data:
            mode = "L" if image.mode in ("1", "L") else "RGB"
            return image if image.mode == mode else image.convert(mode)
        flat, is_transparent = lay_over(image, ImageColor.getrgb(self.background))
        if is_transparent:
            self.changes["composed"] += 1
        return flat

    def _upright(
        self, flat: Image.Image, orientation: int | None, by_itself: int | None
    ) -> Image.Image:
        if orientation in _UPRIGHT or by_itself in _UPRIGHT:
            self.changes["turned"] += 1
        return flat if orientation not in _UPRIGHT else flat.transpose(_UPRIGHT[orientation])

    def _resize(self, image: Image.Image) -> Image.Image:
        if self.size is None or image.size == (self.size, self.size):
            return image
        self.changes["resized"] += 1
        return image.resize((self.size, self.size), Image.Resampling.BILINEAR)


def _orientation(image: Image.Image) -> int | None:
    try:
        value = image.getexif().get(_ORIENTATION)
    except Exception:  # damaged metadata say nothing about the pixels
        return None
    return value if isinstance(value, int) else None


def _has_more_frames(image: Image.Image) -> bool:
    try:
        return bool(getattr(image, "is_animated", False))
    except Exception:  # PIL looks for the second frame, which may be damaged: the first is not
        return True


def _to_array(image: Image.Image) -> Pixels:
    array = numpy.asarray(image, dtype=numpy.uint8)
    if array.ndim == 2:
        return array[None]
    red = array[..., 0]
    is_grey = all(bool((array[..., channel] == red).all()) for channel in (1, 2))
    return (array[..., :1] if is_grey else array).transpose(2, 0, 1)


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
    at_once = max(1, _CHUNK_BYTES // max(1, images[0, 0].size))
    for start in range(0, len(images), at_once):
        for channel in range(channels):
            chunk = images[start : start + at_once, channel]
            counts[channel] += numpy.bincount(chunk.ravel(), minlength=256)
    values = numpy.arange(256)
    total = counts.sum(1)
    mean = (counts @ values) / total
    deviation = numpy.sqrt(numpy.maximum((counts @ values**2) / total - mean**2, 0)) / 255
    deviation[deviation == 0] = 1.0
    return tuple((mean / 255).tolist()), tuple(deviation.tolist())


def lay_over(image: Image.Image, ground: tuple[int, ...]) -> tuple[Image.Image, bool]:
    """A loaded image with transparency as RGB, over the background, and whether any of its pixels is transparent.

    Strip by strip, so that no further whole copies of a large image are made.
    """
    _reduce_transparent_colour(image)
    width, height = image.size
    flat, is_transparent = Image.new("RGB", image.size), False
    at_once = max(1, STRIP_BYTES // (4 * width))
    for start in range(0, height, at_once):
        strip = _to_rgba(image.crop((0, start, width, min(start + at_once, height))))
        if strip.getchannel("A").getextrema() != (255, 255):
            is_transparent = True
            strip = Image.alpha_composite(Image.new("RGBA", strip.size, ground), strip)
        flat.paste(strip.convert("RGB"), (0, start))
    return flat, is_transparent


def _to_rgba(strip: Image.Image) -> Image.Image:
    # There is no direct way from grey with premultiplied alpha.
    straight = strip.convert("LA") if strip.mode == "La" else strip
    return straight.convert("RGBA")


def _reduce_transparent_colour(image: Image.Image) -> None:
    """PIL reads the high bytes of a PNG of 16 bits in RGB, and its transparent colour in full."""
    colour = image.info.get("transparency")
    if isinstance(colour, tuple) and max(colour) > 255:
        image.info["transparency"] = tuple(value >> 8 for value in colour)
