"""One encoded image to pixels: transparency, orientation, colour, and what cannot be read."""

import io
import struct
import warnings
import zlib
from typing import Any

import numpy
import pytest
from PIL import Image

from trainer.data.sources.pixels import _UPRIGHT, Encoded, Reader, pixel_moments
from trainer.errors import DataError, UnreadableImage


def encoded(content: bytes) -> Encoded:
    return Encoded("train", 0, "a.png", lambda: content)


def file(image: Image.Image, kind: str = "PNG", **options: Any) -> bytes:
    stream = io.BytesIO()
    image.save(stream, kind, **options)
    return stream.getvalue()


def read(content: bytes, **options: Any) -> list[int]:
    """The first pixel."""
    pixels: list[int] = Reader(**options).read(encoded(content)).pixels[:, 0, 0].tolist()
    return pixels


@pytest.mark.parametrize(
    ("mode", "colour", "options", "seen"),
    [
        ("RGBA", (200, 0, 0, 0), {}, [255]),
        ("RGBA", (200, 0, 0, 255), {}, [200, 0, 0]),
        ("RGBA", (200, 0, 0, 51), {}, [244, 204, 204]),
        ("LA", (0, 51), {}, [204]),
        ("L", 7, {"transparency": 7}, [255]),
        ("L", 7, {"transparency": 8}, [7]),
        ("1", 0, {"transparency": 0}, [255]),
        ("RGB", (1, 2, 3), {"transparency": (1, 2, 3)}, [255]),
        ("P", 0, {"transparency": 0}, [255]),
        ("P", 0, {"transparency": b"\x33"}, [204]),
    ],
)
def test_transparency_lets_the_background_through(
    mode: str, colour: Any, options: dict[str, Any], seen: list[int]
) -> None:
    image = Image.new(mode, (3, 2), colour)
    if mode == "P":
        image.putpalette([0, 0, 0, 255, 0, 0])
    assert read(file(image, **options)) == seen


def test_premultiplied_alpha_lets_the_background_through(monkeypatch: pytest.MonkeyPatch) -> None:
    # No file that PIL writes has this mode.
    image = Image.new("LA", (3, 2), (100, 51)).convert("La")
    image.format = "TIFF"
    monkeypatch.setattr(Image, "open", lambda _: image)
    assert read(b"") == [224]


@pytest.mark.parametrize(
    ("background", "seen"), [("white", [255]), ("black", [0]), ("#ff8000", [255, 128, 0])]
)
def test_the_background_is_chosen(background: str, seen: list[int]) -> None:
    assert read(file(Image.new("RGBA", (2, 2), (9, 9, 9, 0))), background=background) == seen


def test_the_transparent_colour_of_a_png_of_sixteen_bits_is_transparent() -> None:
    def chunk(kind: bytes, data: bytes) -> bytes:
        return (
            struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        )

    colour = struct.pack(">HHH", 0x1234, 0x5678, 0x9ABC)
    header = struct.pack(">IIBBBBB", 1, 1, 16, 2, 0, 0, 0)
    content = b"".join(
        [
            b"\x89PNG\r\n\x1a\n",
            chunk(b"IHDR", header),
            chunk(b"tRNS", colour),
            chunk(b"IDAT", zlib.compress(b"\0" + colour)),
            chunk(b"IEND", b""),
        ]
    )
    assert read(content) == [255]


@pytest.mark.parametrize("kind", ["PNG", "TIFF"])
def test_every_orientation_is_turned_upright_and_counted(kind: str) -> None:
    pixels = numpy.arange(36, dtype=numpy.uint8).reshape(4, 3, 3)
    shown = Image.fromarray(pixels)
    inverse = ["FLIP_LEFT_RIGHT", "ROTATE_180", "FLIP_TOP_BOTTOM", "TRANSPOSE"]
    inverse += ["ROTATE_90", "TRANSVERSE", "ROTATE_270"]
    reader = Reader()
    for orientation, back in enumerate(inverse, 2):
        exif = Image.Exif()
        exif[0x0112] = orientation
        stored = file(shown.transpose(Image.Transpose[back]), kind, exif=exif)
        decoded = reader.read(encoded(stored))
        assert (decoded.pixels.transpose(1, 2, 0) == pixels).all()
    assert reader.changes == {"turned": 7}


@pytest.mark.parametrize("orientation", [0, 1, 9, 700])
def test_an_orientation_that_means_nothing_changes_nothing(orientation: int) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    reader = Reader()
    reader.read(encoded(file(Image.new("RGB", (3, 2), "red"), exif=exif)))
    assert not reader.changes


def whole(image: Image.Image, size: int | None, back: Image.Transpose | None) -> Any:
    """The image turned, laid over white and resized as a whole; `H, W, C`."""
    grey = image.mode in ("1", "L")
    seen = image.convert("L" if grey else "RGB")
    if image.has_transparency_data:
        ground = Image.new("RGBA", image.size, "white")
        seen = Image.alpha_composite(ground, image.convert("RGBA")).convert("RGB")
    if back is not None:
        seen = seen.transpose(back)
    if size is not None:
        seen = seen.resize((size, size), Image.Resampling.BILINEAR)
    array = numpy.asarray(seen)
    return array[..., None] if array.ndim == 2 else array


@pytest.mark.parametrize("size", [None, 4, 17, 80])
@pytest.mark.parametrize("mode", ["1", "L", "RGB", "RGBA", "LA", "P"])
def test_strips_give_the_pixels_of_the_whole_image(
    monkeypatch: pytest.MonkeyPatch, mode: str, size: int | None
) -> None:
    monkeypatch.setattr("trainer.data.sources.pixels.STRIP_BYTES", 4 * 31 * 5)
    noise = numpy.random.default_rng(0).integers(0, 256, (43, 31, 4)).astype(numpy.uint8)
    noise[:20, :, 3] = 255
    image = Image.fromarray(noise)
    image = image.convert("RGB").convert(mode) if mode in ("1", "L", "P") else image.convert(mode)
    for orientation in range(1, 9):
        exif = Image.Exif()
        exif[0x0112] = orientation
        decoded = Reader(size).read(encoded(file(image, exif=exif)))
        expected = whole(image, size, _UPRIGHT.get(orientation))
        assert (decoded.pixels.transpose(1, 2, 0) == expected).all()


def test_a_large_transparent_image_is_copied_as_a_whole_only_once(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    content = file(Image.new("RGBA", (300, 40), (200, 0, 0, 51)))
    monkeypatch.setattr("trainer.data.sources.pixels.STRIP_BYTES", 4 * 300 * 4)
    make = Image.Image._new
    sizes: list[tuple[int, int]] = []

    def _new(self: Image.Image, core: Any) -> Image.Image:
        made = make(self, core)
        sizes.append(made.size)
        return made

    monkeypatch.setattr(Image.Image, "_new", _new)
    assert Reader(8).read(encoded(content)).pixels[:, 3, 3].tolist() == [244, 204, 204]
    # The one that is laid over the background strip by strip.
    assert [size for size in sizes if size[0] * size[1] > 300 * 4] == [(300, 40)]


def test_another_size_is_refused_before_the_image_is_decoded() -> None:
    reader = Reader()
    reader.read(encoded(file(Image.new("L", (4, 3)))))
    reader.read(encoded(file(Image.new("L", (4, 3)))))
    # Cut off behind its header, it could not be decoded.
    other = file(Image.effect_noise((40, 30), 50))[:60]
    with pytest.raises(DataError, match=r"is 40 × 30 pixels but image 0 .* is 4 × 3"):
        reader.read(encoded(other))


def test_an_oversized_image_is_refused_without_a_warning(monkeypatch: pytest.MonkeyPatch) -> None:
    content = file(Image.new("L", (40, 30)))
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 1000)
    with warnings.catch_warnings(record=True) as seen:
        warnings.simplefilter("always")
        with pytest.raises(
            UnreadableImage, match=r"a\.png\) is too large: it has more than 1,000 pix"
        ):
            Reader().read(encoded(content))
    assert seen == []


@pytest.mark.parametrize("cut", [0, 8, 30, 60])
def test_what_is_cut_off_is_unreadable_in_words(cut: int) -> None:
    content = file(Image.effect_noise((40, 30), 50))[:cut]
    with pytest.raises(UnreadableImage, match=r"^image 0 of train \(a\.png\) is not a readable"):
        Reader().read(encoded(content))


def test_moments_are_the_same_in_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    chance = numpy.random.default_rng(0)
    images = chance.integers(0, 256, (7, 3, 5, 4)).astype(numpy.uint8)
    whole = pixel_moments(images)
    monkeypatch.setattr("trainer.data.sources.pixels._CHUNK_BYTES", 1)
    assert pixel_moments(images) == whole
