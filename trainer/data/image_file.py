"""One part's images on disk, written while they are decoded: `N, C, H, W` in numpy's format."""

import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, TypeAlias

import numpy
import numpy.typing

from trainer.errors import DataError

Array: TypeAlias = numpy.typing.NDArray[Any]

#: More would fit in no machine's memory, where a training has all its images.
MAX_BYTES = 64 * 2**30
#: How many bytes are copied at once.
_CHUNK_BYTES = 32 * 2**20


class ImageFile:
    """Images of equal height and width, of one channel until `widen` is called."""

    def __init__(self, path: Path, part: str, count: int) -> None:
        self._path, self._part, self._count = path, part, count
        self._images: Array | None = None
        #: How many are written, how many of those have colour, and whether any two differ.
        self.done, self.coloured, self.varied = 0, 0, False
        self.first: Array | None = None

    @property
    def channels(self) -> int:
        return 0 if self._images is None else int(self._images.shape[1])

    def write(self, arrays: Sequence[Array]) -> None:
        """Each C, H, W; a grey one among those of colour gets three equal channels."""
        if self._images is None:
            shape = (max(map(len, arrays)), *arrays[0].shape[1:])
            self._images = self._make_room(self._path, self._count, shape, arrays[0].dtype)
            self.first = arrays[0].copy()
        for array in arrays:
            self._images[self.done] = array
            self.done += 1
            self.coloured += len(array) == 3
            self.varied = self.varied or not self._is_first(array)

    def _is_first(self, array: Array) -> bool:
        return self.first is not None and numpy.array_equal(array, self.first)

    def widen(self, channels: int) -> Iterator[int]:
        """Gives grey images that many equal channels; yields how many are done."""
        if 0 < self.channels < channels:
            yield from self._rewrite(self._count, channels)

    def finish(self) -> Iterator[int]:
        """Drops the room of images that were left out; yields how many of the others are done."""
        if self._images is None:
            return
        if self.done < self._count:
            yield from self._rewrite(self.done, self.channels)
        self._images.flush()  # type: ignore[attr-defined]

    def _rewrite(self, count: int, channels: int) -> Iterator[int]:
        assert self._images is not None
        path = self._path.with_suffix(".rewritten")
        shape = (channels, *self._images.shape[2:])
        images = self._make_room(path, count, shape, self._images.dtype)
        at_once = max(1, _CHUNK_BYTES // images[0].nbytes)
        for start in range(0, self.done, at_once):
            stop = min(start + at_once, self.done)
            images[start:stop] = self._images[start:stop]
            yield stop
        self._images, self._count = images, count
        path.replace(self._path)

    def _make_room(self, path: Path, count: int, shape: tuple[int, ...], kind: Any) -> Array:
        """Raises OSError when the disk is full: behind a memory map that would be a signal that kills."""
        size = count * int(numpy.prod(shape, dtype=object)) * numpy.dtype(kind).itemsize
        if size > MAX_BYTES:
            raise DataError(
                f"the {count} {self._part} images of shape {shape} would take {size / 2**30:.0f} GiB "
                f"but {MAX_BYTES / 2**30:g} GiB is the limit: register fewer, or with a smaller `size`"
            )
        images = numpy.lib.format.open_memmap(path, "w+", kind, (count, *shape))
        if hasattr(os, "posix_fallocate"):
            with path.open("r+b") as file:
                os.posix_fallocate(file.fileno(), 0, path.stat().st_size)
        return images
