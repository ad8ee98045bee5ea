"""Where datasets come from: finds the parts of a source, their labels and how to read their images."""

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import distribution
from pathlib import Path
from typing import IO, Any, Literal, TypeAlias, assert_never

import numpy
import numpy.typing

from runtime.data_roots import PathRefused, locate
from trainer.data.sources.file_tree import list_files
from trainer.data.sources.folders import FolderPart, read_layout
from trainer.data.sources.parquet import Columns, open_parquet
from trainer.data.sources.parquet_files import ParquetFiles
from trainer.data.sources.pixels import Encoded
from trainer.data.sources.plugin import read_plugin
from trainer.data.sources.synthetic import draw
from trainer.errors import DataError, UnreadableImage
from trainer.spec import (
    GENERATED,
    BuiltIn,
    DatasetSource,
    FolderLayout,
    Generated,
    HuggingFace,
    ImageFolder,
    Parquet,
    PluginData,
    RecordEntry,
)

#: Pixels (uint8) or features (float32), C, H, W.
Array: TypeAlias = numpy.typing.NDArray[Any]

#: An image of 89 million pixels takes less, even where it isn't compressed.
MAX_FILE_BYTES = 384 * 2**20


@dataclass(frozen=True, slots=True)
class Part:
    """One split of a source. All targets are known at once: labels (int64) or values (float32)."""

    labels: Array
    images: Callable[[], Iterator[Encoded | Array]]


@dataclass(frozen=True, slots=True)
class Opened:
    """A source whose labels are read and whose images are not: `train`, perhaps `test`. Without classes
    the targets are values."""

    classes: tuple[str, ...]
    parts: Mapping[str, Part]
    content: Literal["images", "vectors"] = "images"
    record: tuple[RecordEntry, ...] = ()


def open_source(name: str, source: DatasetSource, roots: Sequence[Path]) -> Opened:
    """Raises DataError for a path outside the roots, a missing column, a set without labels …"""
    match source:
        case BuiltIn():
            return _open_built_in(name)
        case HuggingFace():
            return _from_parquet(_hub_files(source), source)
        case Parquet():
            folder = allowed_path(source.path, roots)
            return _from_parquet(_local_files(folder, source.configuration, roots), source)
        case Generated():
            return _open_generated(source)
        case PluginData():
            return _open_plugin(source)
        case ImageFolder():
            return _open_folder(allowed_path(source.path, roots), source.layout, roots)
        case _:
            assert_never(source)


def allowed_path(path: str | Path, roots: Sequence[Path]) -> Path:
    """The path with symlinks resolved; a relative one counts from each root. DataError where it
    may not be read, or nothing is there."""
    try:
        return locate(path, roots)
    except PathRefused as error:
        raise DataError(str(error)) from None


def _open_built_in(name: str) -> Opened:
    if name in GENERATED:
        return _open_generated(GENERATED[name])
    if name != "digits":
        known = ", ".join(("digits", *GENERATED))
        raise DataError(f"there is no built-in dataset {name!r}; there are {known}")
    # The file that `sklearn.datasets.load_digits` reads: importing scikit-learn takes a second and 80 MB.
    path = Path(
        str(distribution("scikit-learn").locate_file("sklearn/datasets/data/digits.csv.gz"))
    )
    if not path.is_file():
        raise DataError(f"the digits of scikit-learn are not at {path}: install the pinned version")
    table = numpy.loadtxt(path, delimiter=",")
    # Whole numbers from 0 to 16; the factor is 255 / 16.
    pixels = numpy.rint(table[:, :64].reshape(-1, 1, 8, 8) * (255 / 16)).astype(numpy.uint8)
    part = Part(table[:, 64].astype(numpy.int64), lambda: iter(pixels))
    return Opened(tuple(str(digit) for digit in range(10)), {"train": part})


def _open_generated(source: Generated) -> Opened:
    drawn = draw(source)
    parts = {name: _part_of(features, targets) for name, (features, targets) in drawn.parts.items()}
    return Opened(drawn.classes, parts, content="vectors")


def _open_plugin(source: PluginData) -> Opened:
    classes, arrays = read_plugin(source)
    parts = {name: _part_of_arrays(*one) for name, one in arrays.items()}
    is_images = arrays["train"][0].dtype == numpy.uint8
    package = f"read by {source.name} of {source.installed}" if source.installed else source.name
    record = (RecordEntry(action="taken", what=package),)
    return Opened(classes, parts, content="images" if is_images else "vectors", record=record)


def _part_of_arrays(inputs: Array, targets: Array) -> Part:
    return Part(targets, lambda: iter(inputs))


def _part_of(features: numpy.typing.NDArray[Any], targets: numpy.typing.NDArray[Any]) -> Part:
    vectors = features[:, :, None, None]
    return Part(targets, lambda: iter(vectors))


def _local_files(place: Path, configuration: str | None, roots: Sequence[Path]) -> ParquetFiles:
    """A file, or all below a folder; leftovers too, which are counted but never opened."""
    repeated: tuple[str, ...] = ()
    if place.is_file():
        names, folder = [place.name], place.parent
    else:
        tree = list_files(place, lambda path: allowed_path(path, roots))
        found = (*tree.files, *tree.leftovers)
        names, folder = [str(path) for path in found if path.suffix == ".parquet"], place
        repeated = tuple(map(str, tree.repeated))
    return ParquetFiles(
        str(place),
        configuration,
        tuple(names),
        lambda name: _opened(allowed_path(folder / name, roots)),
        repeated,
    )


def _opened(path: Path) -> IO[bytes]:
    try:
        return path.open("rb")
    except (PermissionError, FileNotFoundError) as error:
        raise DataError(f"{path} cannot be read: {error.strerror}") from None


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


def _from_parquet(files: ParquetFiles, source: HuggingFace | Parquet) -> Opened:
    columns = Columns(source.image, source.label, source.unlabelled == "skip")
    opened = open_parquet(files, columns)
    parts = {part: Part(labels, opened.images[part]) for part, labels in opened.labels.items()}
    return Opened(opened.classes, parts, record=opened.record)


def _open_folder(folder: Path, layout: FolderLayout, roots: Sequence[Path]) -> Opened:
    opened = read_layout(list_files(folder, lambda path: allowed_path(path, roots)), layout)
    parts = {
        name: Part(part.labels, _images(folder, name, part, roots))
        for name, part in opened.parts.items()
    }
    return Opened(opened.classes, parts, record=opened.record)


def _images(
    folder: Path, name: str, part: FolderPart, roots: Sequence[Path]
) -> Callable[[], Iterator[Encoded]]:
    return lambda: (
        Encoded(name, number, str(folder / path), _loader(folder / path, roots))
        for number, path in enumerate(part.files)
    )


def _loader(path: Path, roots: Sequence[Path]) -> Callable[[], bytes]:
    def load() -> bytes:
        with _opened(allowed_path(path, roots)) as file:
            size = os.stat(file.fileno()).st_size
            if size > MAX_FILE_BYTES:
                raise UnreadableImage(
                    f"{path} takes {size / 2**20:,.0f} MiB but {MAX_FILE_BYTES / 2**20:,.0f} MiB is the limit "
                    "for the file of an image"
                )
            return file.read()

    return load
