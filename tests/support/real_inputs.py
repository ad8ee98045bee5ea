"""Data as people have them, on disk: four classes of coloured shapes, 120 for training and 40 for testing."""

import io
import json
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any

import numpy
import pyarrow
import pyarrow.parquet
from PIL import Image, ImageDraw

NAMES = ("standing", "lying", "cross", "dot")
TRAIN, TEST = [0, 1, 2, 3] * 30, [0, 1, 2, 3] * 10


def draw(label: int, seed: int, size: tuple[int, int] = (16, 16)) -> Image.Image:
    """A standing or lying bar, a cross or a dot, over noise."""
    chance = numpy.random.default_rng(seed)
    width, height = size
    image = Image.fromarray(chance.integers(0, 90, (height, width, 3)).astype(numpy.uint8))
    _mark(image, label, chance, tuple(int(value) for value in chance.integers(170, 255, 3)))
    return image


def cut_out(label: int, seed: int) -> Image.Image:
    """What one sees is where a mask isn't 0."""
    mask = Image.new("L", (16, 16), 0)
    _mark(mask, label, numpy.random.default_rng(seed), 255)
    return mask


def _mark(image: Image.Image, label: int, chance: numpy.random.Generator, colour: Any) -> None:
    width, height = image.size
    pen = ImageDraw.Draw(image)
    x = int(chance.integers(width // 4, max(3 * width // 4, 1)))
    y = int(chance.integers(height // 4, max(3 * height // 4, height // 4 + 1)))
    if label in (0, 2):
        pen.line((x, 0, x, height - 1), fill=colour, width=2)
    if label in (1, 2):
        pen.line((0, y, width - 1, y), fill=colour, width=2)
    if label == 3:
        pen.ellipse((x - 2, y - 2, x + 2, y + 2), fill=colour)


def encode(image: Image.Image, kind: str = "PNG", **options: Any) -> bytes:
    stream = io.BytesIO()
    image.save(stream, kind, **options)
    return stream.getvalue()


@cache
def pictures(part: str = "train") -> tuple[bytes, ...]:
    """PNG files, in the order of TRAIN or TEST."""
    start, labels = (0, TRAIN) if part == "train" else (1000, TEST)
    return tuple(encode(draw(label, start + seed)) for seed, label in enumerate(labels))


def write_parquet(
    path: Path,
    images: Sequence[bytes | None] | None = None,
    labels: Any = None,
    names: Sequence[str] | None = NAMES,
    kind: Any = None,
) -> None:
    """Training images unless others are given; `names` is what the schema says of the labels."""
    path.parent.mkdir(parents=True, exist_ok=True)
    cells = [{"bytes": content, "path": None} for content in images or pictures()]
    columns = {"image": pyarrow.array(cells)}
    if labels is not False:
        columns["label"] = pyarrow.array(TRAIN if labels is None else labels, kind)
    table = pyarrow.table(columns)
    if names:
        features = {"label": {"names": list(names), "_type": "ClassLabel"}}
        table = table.replace_schema_metadata(
            {"huggingface": json.dumps({"info": {"features": features}})}
        )
    pyarrow.parquet.write_table(table, path)


def write_both(folder: Path, train: str, test: str) -> None:
    """A file of training images and one of test images."""
    write_parquet(folder / train)
    write_parquet(folder / test, pictures("test"), TEST)


def write_folder(
    folder: Path,
    images: Sequence[bytes] | None = None,
    labels: Sequence[int] | None = None,
    suffix: str = "png",
) -> None:
    """`<class>/<number>.<suffix>`"""
    contents = images or pictures()
    for number, (label, content) in enumerate(zip(labels or TRAIN, contents, strict=False)):
        path = folder / NAMES[label] / f"{number:03d}.{suffix}"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
