"""Decodes a dataset once into the cache, and says what it holds and what was done to it."""

from collections.abc import Generator, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import assert_never

import numpy

from trainer.data import cache
from trainer.data.image_file import ImageFile
from trainer.data.sources import (
    Array,
    Change,
    Decoded,
    Encoded,
    Opened,
    Part,
    Reader,
    entry,
    moments,
    open_source,
    plural,
)
from trainer.errors import DataError, UnreadableImage
from trainer.events import Progressed
from trainer.spec import BuiltIn, DatasetInfo, DatasetSource, Generated, PluginData, RecordEntry

MAX_CLASSES = 100_000

#: A chunk ends with so many images, or so many bytes of images as they were before resizing.
CHUNK, CHUNK_BYTES = 1000, 32 * 2**20


@dataclass(slots=True)
class _Reading:
    """How a source's images are read, and which of them could not be."""

    reader: Reader
    skips: bool = False
    unreadable: list[str] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class _Written:
    """One part on disk: its images, and the labels of those that could be read."""

    file: ImageFile
    labels: Array


def decode(
    name: str, source: DatasetSource, folder: Path, roots: Sequence[Path]
) -> Generator[Progressed, None, DatasetInfo]:
    """Into `folder/<digest>/`, all of it or nothing. Mean and std are those of the training part.

    Raises DataError with the reason: a path outside the roots, a missing column, mixed shapes …
    """
    opened = open_source(name, source, roots)
    _require_examples(opened)
    yield Progressed(f"found {', '.join(f'{len(p.labels)} {n}' for n, p in opened.parts.items())}")
    reading = _reading(source)
    with cache.unfinished(folder) as temporary:
        parts = yield from _write_all(temporary, opened, reading)
        # Before the digest, which reads everything once more: a set that is refused should be
        # refused early.
        _require_variety(parts["train"].file, reading)
        info = yield from _inspect(name, temporary, opened, parts, reading)
        cache.publish(temporary, folder, info)
    return info


def _require_examples(opened: Opened) -> None:
    if not _has_values(opened) and not 2 <= len(opened.classes) <= MAX_CLASSES:
        raise DataError(f"a dataset needs 2 to {MAX_CLASSES} classes but has {len(opened.classes)}")
    for name, part in opened.parts.items():
        if len(part.labels) == 0:
            raise DataError(f"the {name} split has no images")


def _has_values(opened: Opened) -> bool:
    """Whether the targets are numbers instead of class labels."""
    return numpy.issubdtype(opened.parts["train"].labels.dtype, numpy.floating)


def _reading(source: DatasetSource) -> _Reading:
    if isinstance(source, BuiltIn | Generated | PluginData):
        return _Reading(Reader())
    return _Reading(Reader(source.size, source.background), source.unreadable == "skip")


def _write_all(
    folder: Path, opened: Opened, reading: _Reading
) -> Generator[Progressed, None, dict[str, _Written]]:
    """If any image has colour, all of all parts are stored with it."""
    parts = {}
    for name, part in opened.parts.items():
        parts[name] = yield from _write(folder, name, part, reading)
    channels = max(written.file.channels for written in parts.values())
    for name, written in parts.items():
        for done in written.file.widen(channels):
            yield Progressed(f"gave {done} {name} images three channels")
        for done in written.file.finish():
            yield Progressed(f"kept {done} {name} images")
    return parts


def _write(
    folder: Path, name: str, part: Part, reading: _Reading
) -> Generator[Progressed, None, _Written]:
    count = len(part.labels)
    file = ImageFile(folder / f"{name}-images.npy", name, count)
    kept = numpy.zeros(count, dtype=bool)
    for numbers, arrays in _chunks(part, reading):
        for done in file.widen(max(map(len, arrays))):
            yield Progressed(f"gave {done} {name} images three channels")
        if numbers[-1] >= count:
            raise DataError(f"the {name} split has more images than its {count} labels")
        file.write(arrays)
        kept[numbers] = True
        yield Progressed(f"decoded {numbers[-1] + 1} of {count} {name} images")
    labels = part.labels[kept]
    if len(labels) == 0:
        raise DataError(f"none of the {count} {name} images can be read")
    numpy.save(folder / f"{name}-labels.npy", labels)
    return _Written(file, labels)


def _chunks(part: Part, reading: _Reading) -> Iterator[tuple[list[int], list[Array]]]:
    """Numbers and pixels of the images that can be read."""
    numbers: list[int] = []
    arrays: list[Array] = []
    cost = 0
    for number, image in enumerate(part.images()):
        decoded = _read(image, reading)
        if decoded is None:
            continue
        numbers.append(number)
        arrays.append(decoded.pixels)
        cost += decoded.cost
        if len(arrays) == CHUNK or cost >= CHUNK_BYTES:
            yield numbers, arrays
            numbers, arrays, cost = [], [], 0
    if arrays:
        yield numbers, arrays


def _read(image: Encoded | Array, reading: _Reading) -> Decoded | None:
    """None where it can't be read and is to be left out."""
    if not isinstance(image, Encoded):
        return Decoded(image, image.nbytes)
    try:
        return reading.reader.read(image)
    except UnreadableImage as error:
        if not reading.skips:
            remedy = (
                "repair or remove it, or register with `unreadable: skip` to leave such images out"
            )
            raise DataError(f"{error}; {remedy}") from None
        reading.unreadable.append(image.name)
        return None


def _require_variety(file: ImageFile, reading: _Reading) -> None:
    """Training on equal images would run to its end, at chance level."""
    if file.varied or file.first is None:
        return
    text = f"all {file.done} training images are equal"
    values = numpy.unique(file.first.reshape(len(file.first), -1), axis=1)
    if values.shape[1] == 1:
        text += f": every pixel is {', '.join(map(str, values[:, 0].tolist()))}"
    if composed := reading.reader.changes["composed"]:
        text += (
            f"; {composed} of the images are transparent and were laid over {reading.reader.background}, which may "
            "be the colour that they are drawn in: register with another `background`"
        )
    raise DataError(text)


def _inspect(
    name: str,
    folder: Path,
    opened: Opened,
    parts: Mapping[str, _Written],
    reading: _Reading,
) -> Generator[Progressed, None, DatasetInfo]:
    counts = None if _has_values(opened) else _count(opened, parts["train"].labels)
    digest = yield from cache.compute_digest(folder, tuple(parts), opened.classes)
    images = numpy.load(folder / "train-images.npy", mmap_mode="r")
    mean, std = moments(images)
    return DatasetInfo(
        name=name,
        digest=digest,
        content=opened.content,
        target="value" if counts is None else "class",
        shape=(images.shape[1], images.shape[2], images.shape[3]),
        classes=opened.classes,
        train_size=len(images),
        test_size=len(parts["test"].labels) if "test" in parts else None,
        mean=mean,
        std=std,
        class_counts=counts,
        record=(*opened.record, *_changes(parts, reading)),
    )


def _count(opened: Opened, labels: Array) -> tuple[int, ...]:
    counts = numpy.bincount(labels, minlength=len(opened.classes))
    if not counts.all():
        empty = opened.classes[int(numpy.argmin(counts))]
        raise DataError(f"class {empty!r} has no example in the train split that can be read")
    return tuple(counts.tolist())


def _changes(parts: Mapping[str, _Written], reading: _Reading) -> Iterator[RecordEntry]:
    if reading.unreadable:
        yield entry("skipped", "images", reading.unreadable, why="they cannot be read")
    coloured = sum(written.file.coloured for written in parts.values())
    grey = sum(written.file.done for written in parts.values()) - coloured
    for change, count in reading.reader.changes.items():
        # In a set with colour, those of equal channels stay as they are.
        if change != "grey" or not coloured:
            yield entry("mapped", _in_words(change, reading.reader), count=count)
    if coloured and grey:
        why = f"{plural(coloured, 'image')} with colour: all images of a set are stored alike"
        yield entry("mapped", "grey images to three equal channels", count=grey, why=why)


def _in_words(change: Change, reader: Reader) -> str:
    match change:
        case "turned":
            return "images turned upright by their EXIF orientation"
        case "composed":
            return f"transparent images, laid over {reader.background}"
        case "first_frame":
            return "animated or multi-page images to their first frame"
        case "resized":
            return f"images resized to {reader.size} × {reader.size} pixels"
        case "grey":
            return "images stored in colour, with equal channels, to grey"
        case _:
            assert_never(change)
