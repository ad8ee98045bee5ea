"""Thumbnails of classes in a terminal, drawn with half blocks of two pixels each."""

import io
from collections.abc import Sequence

from rich.columns import Columns
from rich.console import Console, Group
from rich.style import Style
from rich.text import Text

#: A picture's longer side, in pixels: as many characters wide, half as many lines high.
PIXELS = 16
_HALF = "▀"


def show_thumbnails(to: Console, sheet: bytes, names: Sequence[str], rows: int) -> None:
    """`sheet` is a PNG of so many equal cells below each other, without gaps; the first have these names,
    and are shown."""
    from PIL import Image

    with Image.open(io.BytesIO(sheet)) as image:
        pixels = image.convert("RGB")
    width, height = pixels.width, pixels.height // rows
    cells = []
    for number, name in enumerate(names):
        cell = pixels.crop((0, number * height, width, (number + 1) * height))
        title = Text(name, no_wrap=True, overflow="ellipsis")
        title.truncate(width, overflow="ellipsis", pad=True)
        cells.append(Group(title, _half_blocks(cell.tobytes(), width, height)))
    to.print(Columns(cells, padding=(0, 2), width=width))


def _half_blocks(content: bytes, width: int, height: int) -> Text:
    """`content` is RGB, row by row; below an odd last row the terminal's own background shows."""
    text = Text(no_wrap=True)
    for top in range(0, height, 2):
        for column in range(width):
            upper = _colour(content, (top * width + column) * 3)
            lower = _colour(content, ((top + 1) * width + column) * 3) if top + 1 < height else None
            text.append(_HALF, Style(color=upper, bgcolor=lower))
        text.append("\n")
    return text


def _colour(content: bytes, at: int) -> str:
    return f"#{content[at : at + 3].hex()}"
