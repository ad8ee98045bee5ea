"""Decoded datasets on disk: `<folder>/<digest>/`, memory-mappable, written once.

Holds `train-images.npy` (N, C, H, W, uint8 or, of vectors, float32), `train-labels.npy` (N, int64 or,
of values, float32), the same for `test` where
the set has its own, and `info.json`. A folder under its digest is always complete.
"""

import hashlib
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy
import numpy.typing
import torch

from runtime.files import DIGEST_BYTES, sync, unfinished_folder
from trainer.errors import DataError
from trainer.events import Progressed
from trainer.spec import DatasetInfo

_CHUNK = 4096


@contextmanager
def unfinished(folder: Path) -> Iterator[Path]:
    """A temporary folder beside the finished ones, gone afterwards unless it was published."""
    folder.mkdir(parents=True, exist_ok=True)
    with unfinished_folder(folder, ".decoding-") as temporary:
        yield temporary


def publish(temporary: Path, folder: Path, info: DatasetInfo) -> None:
    """Make a complete folder appear under its digest; one that is already there stays."""
    (temporary / "info.json").write_text(info.model_dump_json(indent=2))
    # All content reaches the disk before the name does: after a power failure a folder under a
    # digest is either absent or complete.
    for path in (*temporary.iterdir(), temporary):
        sync(path)
    # Till now only its owner can enter it; hosts may run under other users.
    temporary.chmod(0o755)
    try:
        temporary.rename(folder / info.digest)
    except OSError:
        # Another process was faster; what it wrote has the same digest.
        if not (folder / info.digest / "info.json").exists():
            raise
    sync(folder)


def compute_digest(
    folder: Path, parts: tuple[str, ...], classes: tuple[str, ...]
) -> Generator[Progressed, None, str]:
    """blake2b (hex, 16 bytes) of the class names, shapes, decoded pixels and labels."""
    content = hashlib.blake2b(repr(classes).encode(), digest_size=DIGEST_BYTES)
    for part in parts:
        images = numpy.load(folder / f"{part}-images.npy", mmap_mode="r")
        labels = numpy.load(folder / f"{part}-labels.npy", mmap_mode="r")
        # Types are part of the digest only where they are not the usual ones: the digests of the
        # built-in sets are written in the code, and must stay what they are.
        kind = () if images.dtype == numpy.uint8 else (str(images.dtype), str(labels.dtype))
        content.update(repr((part, images.shape, *kind)).encode())
        for start in range(0, len(images), _CHUNK):
            content.update(numpy.ascontiguousarray(images[start : start + _CHUNK]).data)
            content.update(numpy.ascontiguousarray(labels[start : start + _CHUNK]).data)
            yield Progressed(f"read {start} of {len(images)} {part} images for the digest")
    return content.hexdigest()


def load_part(folder: Path, info: DatasetInfo, part: str) -> tuple[torch.Tensor, torch.Tensor]:
    """Memory-mapped images and labels; raises DataError where they are not what `info` says."""
    images = _load(folder / info.digest / f"{part}-images.npy", info)
    labels = _load(folder / info.digest / f"{part}-labels.npy", info)
    count = info.train_size if part == "train" else info.test_size
    if images.shape != (count, *info.shape) or labels.shape != (count,):
        raise DataError(
            f"the decoded {part} images of {info.name!r} have shape {images.shape} "
            f"but {(count, *info.shape)} is registered; delete {folder / info.digest}"
        )
    return torch.from_numpy(images), torch.from_numpy(labels)


def _load(path: Path, info: DatasetInfo) -> numpy.typing.NDArray[Any]:
    try:
        # Copy-on-write, because torch warns about memory that it must not write to.
        loaded: numpy.typing.NDArray[Any] = numpy.load(path, mmap_mode="c")
    except FileNotFoundError:
        raise DataError(
            f"dataset {info.name!r} is not decoded under {path.parent}: register it first"
        ) from None
    except (ValueError, EOFError) as error:
        raise DataError(
            f"{path} is damaged ({error}); delete {path.parent} and decode again"
        ) from None
    return loaded
