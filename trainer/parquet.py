"""Parquet files in the Hugging Face layout: which file is which split, labels, encoded images.

Knows neither where the files lie nor what the images look like.
"""

import json
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import IO, Any

import numpy
import numpy.typing
import pyarrow
import pyarrow.parquet

from trainer.errors import DataError

_SPLITS = {
    "train": "train",
    "test": "test",
    "validation": "validation",
    "valid": "validation",
    "val": "validation",
    "dev": "validation",
}
_ROWS = 256


@dataclass(frozen=True, slots=True)
class ParquetFiles:
    """Names relative to their source, and how to open one."""

    source: str
    configuration: str | None
    names: tuple[str, ...]
    open: Callable[[str], IO[bytes]]


@dataclass(frozen=True, slots=True)
class OpenedParquet:
    """Labels of each part, and a function per part that yields its encoded images in their order."""

    classes: tuple[str, ...]
    labels: Mapping[str, numpy.typing.NDArray[numpy.int64]]
    images: Mapping[str, Callable[[], Iterator[bytes]]]


def open_parquet(files: ParquetFiles, image: str, label: str) -> OpenedParquet:
    """Reads all labels (a column of its own in these files) and no image."""
    parts = group_files(files)
    schema = _schema(files, parts["train"][0])
    _require_columns(files, schema, image, label)
    columns = {part: _read_labels(files, names, label) for part, names in parts.items()}
    classes, labels = _number(columns, _class_names(schema, label), label)
    return OpenedParquet(classes, labels, {p: _images(files, n, image) for p, n in parts.items()})


def group_files(files: ParquetFiles) -> dict[str, list[str]]:
    """The files of `train` and, where there is one, of `test` (else of `validation`, used as the test).

    A validation split beside a test split is left out: Normlab cuts its own from train.
    """
    found: dict[str, dict[str, list[str]]] = {}
    for name in sorted(files.names):
        configuration, split = _placed(name)
        found.setdefault(configuration, {}).setdefault(split, []).append(name)
    if not found:
        raise DataError(f"{files.source} has no parquet files")
    splits = found[_choose_configuration(files, list(found))]
    if "train" not in splits:
        # Files that name no split are all training examples; a test split alone is not.
        if set(splits) != {""}:
            raise DataError(f"{files.source} has no train split but {', '.join(sorted(splits))}")
        return {"train": splits[""]}
    held_out = splits.get("test") or splits.get("validation")
    return {"train": splits["train"], **({"test": held_out} if held_out else {})}


def _placed(name: str) -> tuple[str, str]:
    """Configuration and split of `train-0.parquet`, `data/…`, `<conf>/train-…`, `<conf>/train/0.parquet`."""
    path = PurePosixPath(name.replace("\\", "/"))
    folders = [step for step in path.parent.parts if step != "data"]
    match = re.match(r"[a-z]+", path.stem)
    split = _SPLITS.get(match[0] if match else "", "")
    if not split and folders and folders[-1] in _SPLITS:
        split = _SPLITS[folders.pop()]
    return "/".join(folders), split


def _choose_configuration(files: ParquetFiles, found: list[str]) -> str:
    wanted = files.configuration
    if wanted is not None and wanted in found:
        return wanted
    if wanted is None and (len(found) == 1 or "" in found or "default" in found):
        return found[0] if len(found) == 1 else ("" if "" in found else "default")
    named = ", ".join(name or "(none)" for name in found)
    raise DataError(
        f"{files.source} has the configurations {named}; name one of them"
        + (f" instead of {wanted}" if wanted else "")
    )


def _schema(files: ParquetFiles, name: str) -> pyarrow.Schema:
    with files.open(name) as stream:
        return _open(files, name, stream).schema_arrow


def _open(files: ParquetFiles, name: str, stream: IO[bytes]) -> pyarrow.parquet.ParquetFile:
    try:
        return pyarrow.parquet.ParquetFile(stream)
    except pyarrow.ArrowInvalid as error:
        raise DataError(f"{name} of {files.source} is not a parquet file: {error}") from None


def _require_columns(files: ParquetFiles, schema: pyarrow.Schema, image: str, label: str) -> None:
    for column in (image, label):
        if column not in schema.names:
            raise DataError(
                f"{files.source} has no column {column!r}; it has {', '.join(schema.names)}"
            )
    kind = schema.field(image).type
    holds_bytes = pyarrow.types.is_binary(kind) or pyarrow.types.is_large_binary(kind)
    if pyarrow.types.is_struct(kind):
        holds_bytes = kind.get_field_index("bytes") >= 0
    if not holds_bytes:
        raise DataError(f"column {image!r} of {files.source} holds {kind} but images are needed")


def _read_labels(files: ParquetFiles, names: list[str], label: str) -> list[Any]:
    values: list[Any] = []
    for name in names:
        with files.open(name) as stream:
            parquet = _open(files, name, stream)
            if label not in parquet.schema_arrow.names:
                raise DataError(f"{name} of {files.source} has no column {label!r}")
            values.extend(parquet.read(columns=[label]).column(label).to_pylist())
    return values


def _class_names(schema: pyarrow.Schema, label: str) -> tuple[str, ...] | None:
    """The names that the `datasets` library keeps in the schema of a ClassLabel column."""
    try:
        features = json.loads((schema.metadata or {})[b"huggingface"])["info"]["features"]
        return tuple(str(name) for name in features[label]["names"])
    except (KeyError, TypeError, ValueError):
        return None


def _number(
    columns: dict[str, list[Any]], names: tuple[str, ...] | None, label: str
) -> tuple[tuple[str, ...], dict[str, numpy.typing.NDArray[numpy.int64]]]:
    values = {value for column in columns.values() for value in column}
    if all(isinstance(value, str) for value in values):
        names = tuple(sorted(values))
        index = {name: number for number, name in enumerate(names)}
        columns = {part: [index[value] for value in column] for part, column in columns.items()}
    elif not all(isinstance(value, int) and value >= 0 for value in values):
        strange = next(v for v in values if not (isinstance(v, int) and v >= 0))
        raise DataError(f"column {label!r} must hold class numbers or names but has {strange!r}")
    highest = max((max(map(int, column), default=-1) for column in columns.values()), default=-1)
    classes = names or tuple(str(number) for number in range(highest + 1))
    if highest >= len(classes):
        raise DataError(f"column {label!r} has class {highest} but only {len(classes)} names")
    return classes, {p: numpy.array(column, dtype=numpy.int64) for p, column in columns.items()}


def _images(files: ParquetFiles, names: list[str], image: str) -> Callable[[], Iterator[bytes]]:
    def contents() -> Iterator[bytes]:
        for name in names:
            with files.open(name) as stream:
                parquet = _open(files, name, stream)
                for batch in parquet.iter_batches(_ROWS, columns=[image]):
                    for value in batch.column(0).to_pylist():
                        yield _bytes(value, name)

    return contents


def _bytes(value: Any, name: str) -> bytes:
    content = value.get("bytes") if isinstance(value, dict) else value
    if not isinstance(content, bytes):
        raise DataError(f"{name} has an image without bytes: it only refers to a file")
    return content
