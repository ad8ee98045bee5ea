"""Where datasets come from: finds the parts of a source and reads them in chunks. Knows no cache."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, assert_never

import numpy
import numpy.typing

from trainer.errors import DataError
from trainer.generated import draw
from trainer.parquet import ParquetFiles, open_parquet
from trainer.pixels import Pixels, to_pixels
from trainer.spec import BuiltIn, DatasetSource, Generated, HuggingFace, ImageFolder, Parquet
from trainer.spec.builtin import GENERATED

CHUNK = 1000

_IMAGES = frozenset({".bmp", ".gif", ".jpeg", ".jpg", ".png", ".ppm", ".tif", ".tiff", ".webp"})
_TEST_FOLDERS = ("test", "validation", "valid", "val")


@dataclass(frozen=True, slots=True)
class Part:
    """One split of a source; `chunks()` yields arrays C, H, W: pixels (uint8) or features (float32). All
    targets are known at once: labels (int64) or values (float32)."""

    labels: numpy.typing.NDArray[Any]
    chunks: Callable[[], Iterator[list[numpy.typing.NDArray[Any]]]]


@dataclass(frozen=True, slots=True)
class Opened:
    """A source whose labels are read and whose images are not: `train`, perhaps `test`. Without classes
    the targets are values."""

    classes: tuple[str, ...]
    parts: Mapping[str, Part]
    content: Literal["images", "vectors"] = "images"


def open_source(name: str, source: DatasetSource, roots: Sequence[Path]) -> Opened:
    """Raises DataError for a path outside the roots, a missing column, a set without labels …"""
    match source:
        case BuiltIn():
            return _open_built_in(name)
        case HuggingFace():
            return _from_parquet(_hub_files(source), source.image, source.label)
        case Parquet():
            files = _local_files(allowed_path(source.path, roots), roots)
            return _from_parquet(files, source.image, source.label)
        case Generated():
            return _open_generated(source)
        case ImageFolder():
            return _open_folder(allowed_path(source.path, roots), source.size, roots)
        case _:
            assert_never(source)


def allowed_path(path: str | Path, roots: Sequence[Path]) -> Path:
    """The path with symlinks resolved; a relative one counts from each root. DataError outside."""
    for root in roots:
        try:
            resolved = (root / path).resolve()
            inside = resolved.is_relative_to(root.resolve())
            exists = inside and resolved.exists()
        except (OSError, RuntimeError, ValueError):  # a loop of links, a NUL in the name
            continue
        if exists:
            return resolved
    listed = ", ".join(str(root) for root in roots) or "none is configured"
    raise DataError(f"{str(path)!r} is not a path under one of the data roots ({listed})")


def _open_built_in(name: str) -> Opened:
    if name in GENERATED:
        return _open_generated(GENERATED[name])
    if name != "digits":
        known = ", ".join(("digits", *GENERATED))
        raise DataError(f"there is no built-in dataset {name!r}; there are {known}")
    # scikit-learn takes a second to import, and only decoding needs it.
    from sklearn.datasets import load_digits

    images, labels = load_digits(return_X_y=True)
    # Whole numbers from 0 to 16; the factor is 255 / 16.
    pixels = numpy.rint(images.reshape(-1, 1, 8, 8) * (255 / 16)).astype(numpy.uint8)
    part = Part(labels.astype(numpy.int64), lambda: iter([list(pixels)]))
    return Opened(tuple(str(digit) for digit in range(10)), {"train": part})


def _open_generated(source: Generated) -> Opened:
    drawn = draw(source)
    parts = {name: _part_of(features, targets) for name, (features, targets) in drawn.parts.items()}
    return Opened(drawn.classes, parts, content="vectors")


def _part_of(features: numpy.typing.NDArray[Any], targets: numpy.typing.NDArray[Any]) -> Part:
    vectors = features[:, :, None, None]
    starts = range(0, len(vectors), CHUNK)
    return Part(targets, lambda: (list(vectors[start : start + CHUNK]) for start in starts))


def _local_files(folder: Path, roots: Sequence[Path]) -> ParquetFiles:
    found = [folder] if folder.is_file() else sorted(folder.rglob("*.parquet"))
    base = folder.parent if folder.is_file() else folder
    paths = {
        str(path.relative_to(base)): allowed_path(path, roots)
        for path in found
        if not any(step.startswith(".") for step in path.relative_to(base).parts)
    }
    return ParquetFiles(str(folder), None, tuple(paths), lambda name: paths[name].open("rb"))


def _hub_files(source: HuggingFace) -> ParquetFiles:
    """Read over the network as they are decoded, so that every chunk is progress.

    No token is sent, and no code of the repository is run: only its parquet files are read.
    """
    from huggingface_hub import HfFileSystem

    system = HfFileSystem(token=False)
    root = f"datasets/{source.repository}@{source.revision}"
    try:
        found = sorted(system.glob(f"{root}/**/*.parquet", revision=source.revision))
    except Exception as error:  # the client lets its HTTP library's own errors through
        raise DataError(
            f"cannot list {source.repository} at {source.revision[:12]} on the hub: {error}"
        ) from error
    # The client may spell the revision in its own way, so only what follows the root is kept.
    names = tuple(path.split("@", 1)[1].split("/", 1)[1] for path in found)
    described = f"{source.repository} at {source.revision[:12]}"
    return ParquetFiles(
        described, source.configuration, names, lambda name: system.open(f"{root}/{name}", "rb")
    )


def _from_parquet(files: ParquetFiles, image: str, label: str) -> Opened:
    opened = open_parquet(files, image, label)
    return Opened(
        opened.classes,
        {
            part: Part(labels, _decoder(opened.images[part], len(labels), part, None))
            for part, labels in opened.labels.items()
        },
    )


def _open_folder(folder: Path, size: int | None, roots: Sequence[Path]) -> Opened:
    parts = {"train": folder}
    if (folder / "train").is_dir():
        parts = {"train": folder / "train"}
        held_out = next((folder / n for n in _TEST_FOLDERS if (folder / n).is_dir()), None)
        if held_out is not None:
            parts["test"] = held_out
    classes = tuple(sorted(path.name for path in parts["train"].iterdir() if _is_class(path)))
    if not classes:
        raise DataError(f"{parts['train']} has no folders of classes")
    return Opened(
        classes,
        {name: _folder_part(path, name, classes, size, roots) for name, path in parts.items()},
    )


def _is_class(path: Path) -> bool:
    return path.is_dir() and not path.name.startswith(".")


def _folder_part(
    folder: Path, part: str, classes: tuple[str, ...], size: int | None, roots: Sequence[Path]
) -> Part:
    if unknown := {path.name for path in folder.iterdir() if _is_class(path)} - set(classes):
        raise DataError(f"{folder} has classes that train lacks: {', '.join(sorted(unknown))}")
    files = [
        (label, path)
        for label, name in enumerate(classes)
        for path in sorted((folder / name).glob("*"))
        if path.suffix.lower() in _IMAGES and not path.name.startswith(".")
    ]
    labels = numpy.array([label for label, _ in files], dtype=numpy.int64)

    def contents() -> Iterator[bytes]:
        return (allowed_path(path, roots).read_bytes() for _, path in files)

    return Part(labels, _decoder(contents, len(files), part, size))


def _decoder(
    contents: Callable[[], Iterable[bytes]], count: int, part: str, size: int | None
) -> Callable[[], Iterator[list[Pixels]]]:
    def chunks() -> Iterator[list[Pixels]]:
        channels, chunk = None, []
        for number, content in enumerate(contents()):
            pixels = to_pixels(content, f"image {number} of {part}", channels, size)
            channels = len(pixels)
            chunk.append(pixels)
            if len(chunk) == CHUNK or number == count - 1:
                yield chunk
                chunk = []

    return chunks
