"""Decodes a dataset once into the cache, and says what it found. Knows no spec of a training."""

import os
from collections.abc import Generator, Sequence
from pathlib import Path

import numpy

from trainer import cache
from trainer.errors import DataError
from trainer.events import Progressed
from trainer.pixels import moments
from trainer.sources import Opened, Part, open_source
from trainer.spec import DatasetInfo, DatasetSource

MAX_CLASSES = 100_000


def decode(
    name: str, source: DatasetSource, folder: Path, roots: Sequence[Path]
) -> Generator[Progressed, None, DatasetInfo]:
    """Into `folder/<digest>/`, all of it or nothing. Mean and std are those of the training part.

    Raises DataError with the reason: a path outside the roots, a missing column, mixed shapes …
    """
    opened = open_source(name, source, roots)
    _require_examples(opened)
    yield Progressed(f"found {', '.join(f'{len(p.labels)} {n}' for n, p in opened.parts.items())}")
    with cache.unfinished(folder) as temporary:
        shape: tuple[int, ...] | None = None
        for part_name, part in opened.parts.items():
            shape = yield from _write(temporary, part_name, part, shape)
        info = yield from _inspect(name, temporary, opened)
        cache.publish(temporary, folder, info)
    return info


def _require_examples(opened: Opened) -> None:
    is_classified = not _has_values(opened)
    if is_classified and not 2 <= len(opened.classes) <= MAX_CLASSES:
        raise DataError(f"a dataset needs 2 to {MAX_CLASSES} classes but has {len(opened.classes)}")
    for name, part in opened.parts.items():
        if len(part.labels) == 0:
            raise DataError(f"the {name} split has no images")
    if not is_classified:
        return
    counts = numpy.bincount(opened.parts["train"].labels, minlength=len(opened.classes))
    if not counts.all():
        empty = opened.classes[int(numpy.argmin(counts))]
        raise DataError(f"class {empty!r} has no example in the train split")


def _has_values(opened: Opened) -> bool:
    """Numbers as targets, which are no labels of classes."""
    return numpy.issubdtype(opened.parts["train"].labels.dtype, numpy.floating)


def _write(
    folder: Path, name: str, part: Part, shape: tuple[int, ...] | None
) -> Generator[Progressed, None, tuple[int, ...]]:
    count, done = len(part.labels), 0
    numpy.save(folder / f"{name}-labels.npy", part.labels)
    images = None
    for chunk in part.chunks():
        shape = shape or chunk[0].shape
        for offset, pixels in enumerate(chunk):
            if pixels.shape != shape:
                raise DataError(
                    f"image {done + offset} of {name} has shape {pixels.shape} but the first has "
                    f"{shape}: all images of a set must be equal in shape"
                )
        if images is None:
            path = folder / f"{name}-images.npy"
            images = numpy.lib.format.open_memmap(path, "w+", chunk[0].dtype, (count, *shape))
            _take_room(path)
        images[done : done + len(chunk)] = chunk
        done += len(chunk)
        yield Progressed(f"decoded {done} of {count} {name} images")
    if images is None or shape is None or done != count:
        raise DataError(f"the {name} split has {count} labels but {done} images")
    images.flush()
    return shape


def _take_room(path: Path) -> None:
    """Raises OSError when the disk is full: behind a memory map that would be a signal that kills."""
    if hasattr(os, "posix_fallocate"):
        with path.open("r+b") as file:
            os.posix_fallocate(file.fileno(), 0, path.stat().st_size)


def _inspect(name: str, folder: Path, opened: Opened) -> Generator[Progressed, None, DatasetInfo]:
    digest = yield from cache.compute_digest(folder, tuple(opened.parts), opened.classes)
    images = numpy.load(folder / "train-images.npy", mmap_mode="r")
    mean, std = moments(images)
    test = opened.parts.get("test")
    return DatasetInfo(
        name=name,
        digest=digest,
        content=opened.content,
        target="value" if _has_values(opened) else "class",
        shape=(images.shape[1], images.shape[2], images.shape[3]),
        classes=opened.classes,
        train_size=len(images),
        test_size=None if test is None else len(test.labels),
        mean=mean,
        std=std,
    )
