"""Transparent images laid over a background, strip by strip: of a large one no further whole copies are made."""

from PIL import Image

#: How many bytes a strip takes, at four a pixel.
STRIP_BYTES = 4 * 2**20


def lay_over(image: Image.Image, ground: tuple[int, ...]) -> tuple[Image.Image, bool]:
    """A loaded image with transparency as RGB, and whether any of its pixels is transparent."""
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
