"""Parquet files in the Hugging Face layout: labels, and encoded images in their order."""

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy
import pyarrow
import pyarrow.parquet

from trainer.data.sources.labels import NONE, Codes, Labels, number, read_labels
from trainer.data.sources.parquet_files import ParquetFiles, group_files
from trainer.data.sources.pixels import Encoded
from trainer.data.sources.records import entry, listed, plural
from trainer.data.sources.split_words import Split
from trainer.errors import DataError, UnreadableImage
from trainer.spec import RecordEntry

#: Rows and encoded bytes that are read at once, and what one read of a file fetches.
_ROWS, _BYTES, _BUFFER = 256, 16 * 2**20, 4 * 2**20


@dataclass(frozen=True, slots=True)
class Columns:
    """Which columns hold images and labels, and whether examples without a label are left out."""

    image: str
    label: str
    skip_unlabelled: bool = False


@dataclass(frozen=True, slots=True)
class OpenedParquet:
    """Labels of each part, and a function per part that yields its encoded images in their order."""

    classes: tuple[str, ...]
    labels: Mapping[str, Codes]
    images: Mapping[str, Callable[[], Iterator[Encoded]]]
    record: tuple[RecordEntry, ...]


@dataclass(frozen=True, slots=True)
class _Rows:
    """The files of one part, the rows of each, and the labels of all."""

    split: Split
    names: Sequence[str]
    lengths: Sequence[int]
    labels: Labels


def open_parquet(files: ParquetFiles, columns: Columns) -> OpenedParquet:
    """Reads all labels (a column of its own in these files) and no image."""
    grouped = group_files(files)
    schema = _schema(files, grouped.splits["train"][0])
    _require_columns(files, schema, columns)
    train = _read_rows(files, "train", grouped.splits["train"], columns.label)
    held_out, passed_over = _held_out(files, grouped.splits, columns.label)
    parts = {"train": train, **({"test": held_out} if held_out else {})}
    for part, rows in parts.items():
        _require_labels(part, rows, columns)
    numbered = number(
        {part: rows.labels for part, rows in parts.items()},
        _class_names(schema, columns.label),
        columns.label,
    )
    keep = {part: codes != NONE for part, codes in numbered.labels.items()}
    taken = [_taken(part, rows, grouped.named) for part, rows in parts.items()]
    left_out = (*grouped.record, *passed_over, *_unlabelled(parts))
    return OpenedParquet(
        numbered.classes,
        {part: codes[keep[part]] for part, codes in numbered.labels.items()},
        {p: _images(files, p, rows, keep[p], columns.image) for p, rows in parts.items()},
        (*taken, *left_out, *numbered.record),
    )


def _schema(files: ParquetFiles, name: str) -> pyarrow.Schema:
    with _open(files, name) as parquet:
        return parquet.schema_arrow


@contextmanager
def _open(files: ParquetFiles, name: str) -> Iterator[pyarrow.parquet.ParquetFile]:
    """What arrow says of the file's content is a DataError, which no second attempt changes."""
    try:
        with files.open(name) as stream:
            # Without a buffer, arrow reads a whole column of a row group at once: all its images.
            yield pyarrow.parquet.ParquetFile(stream, buffer_size=_BUFFER, pre_buffer=False)
    except MemoryError:
        raise
    except (pyarrow.ArrowException, UnicodeDecodeError) as error:
        raise _damaged(files, name, error) from error
    except OSError as error:
        # Arrow's own have no number; those of disks and networks are to be tried again.
        if type(error) is not OSError or error.errno is not None:
            raise
        raise _damaged(files, name, error) from error


def _damaged(files: ParquetFiles, name: str, error: Exception) -> DataError:
    return DataError(f"{name} of {files.source} is not a readable parquet file: {error}".strip())


def _require_columns(files: ParquetFiles, schema: pyarrow.Schema, columns: Columns) -> None:
    for column in (columns.image, columns.label):
        if column not in schema.names:
            raise DataError(
                f"{files.source} has no column {column!r}; it has {', '.join(schema.names)}"
            )
    kind = schema.field(columns.image).type
    binary = (
        pyarrow.types.is_binary,
        pyarrow.types.is_large_binary,
        pyarrow.types.is_binary_view,
    )
    holds_bytes = any(is_kind(kind) for is_kind in binary)
    if pyarrow.types.is_struct(kind):
        holds_bytes = kind.get_field_index("bytes") >= 0
    if not holds_bytes:
        raise DataError(
            f"column {columns.image!r} of {files.source} holds {kind} but images are needed"
        )


def _read_rows(files: ParquetFiles, split: Split, names: Sequence[str], label: str) -> _Rows:
    """Without the column in any file no row has a label."""
    lengths: list[int] = []
    columns: dict[str, pyarrow.ChunkedArray] = {}
    for name in names:
        with _open(files, name) as parquet:
            lengths.append(parquet.metadata.num_rows)
            if label in parquet.schema_arrow.names:
                columns[name] = parquet.read(columns=[label]).column(label)
    if columns and (lacking := [name for name in names if name not in columns]):
        raise DataError(f"{lacking[0]} of {files.source} has no column {label!r}")
    if not columns:
        return _Rows(split, names, lengths, Labels(numpy.full(sum(lengths), NONE), ()))
    return _Rows(split, names, lengths, read_labels(list(columns.values()), label))


def _held_out(
    files: ParquetFiles, splits: Mapping[Split, Sequence[str]], label: str
) -> tuple[_Rows | None, list[RecordEntry]]:
    """The test split, or else the validation split, if it has labels; and what is left out."""
    order: tuple[Split, ...] = ("test", "validation")
    chosen: _Rows | None = None
    record = []
    for split in order:
        names = splits.get(split, ())
        if chosen is not None and names:
            count, why = _count_rows(files, names), "Normlab cuts its own validation from train"
            record.append(entry("skipped", f"the {split} split", names, count=count, why=why))
        elif names:
            rows = _read_rows(files, split, names, label)
            count = len(rows.labels.codes)
            if rows.labels.missing < count or count == 0:
                chosen = rows
                continue
            why = f"none of its {plural(count, 'example')} has a label"
            record.append(entry("skipped", f"the {split} split", names, count=count, why=why))
    return chosen, record


def _count_rows(files: ParquetFiles, names: Sequence[str]) -> int:
    count = 0
    for name in names:
        with _open(files, name) as parquet:
            count += parquet.metadata.num_rows
    return count


def _require_labels(part: str, rows: _Rows, columns: Columns) -> None:
    count, missing = len(rows.labels.codes), rows.labels.missing
    if not missing:
        return
    if missing == count:
        raise DataError(f"no example of {part} has a label: {columns.label!r} is null or -1 in all")
    if columns.skip_unlabelled:
        return
    first = int(numpy.argmax(rows.labels.codes == NONE))
    raise DataError(
        f"{missing} of {count} examples of {part} have no label (null or -1), the first in "
        f"{_place(rows, first)}: give them one, or register with `unlabelled: skip`"
    )


def _place(rows: _Rows, position: int) -> str:
    for name, length in zip(rows.names, rows.lengths, strict=True):
        if position < length:
            return f"row {position} of {name}"
        position -= length
    raise AssertionError(position)


def _class_names(schema: pyarrow.Schema, label: str) -> tuple[str, ...] | None:
    """The names that the `datasets` library keeps in the schema of a ClassLabel column."""
    try:
        features = json.loads((schema.metadata or {})[b"huggingface"])["info"]["features"]
        return tuple(str(name) for name in features[label]["names"])
    except (KeyError, TypeError, ValueError):
        return None


def _taken(part: str, rows: _Rows, named: bool) -> RecordEntry:
    why = None if named else "no name has a word like train, validation or test"
    if part == "test" and rows.split != "test":
        why = "there is no labelled test split"
    count = len(rows.labels.codes) - rows.labels.missing
    return entry(
        "taken", f"{listed(rows.names, 'file')} as {part}", rows.names, count=count, why=why
    )


def _unlabelled(parts: Mapping[str, _Rows]) -> Iterator[RecordEntry]:
    for part, rows in parts.items():
        if missing := rows.labels.missing:
            why = "they have no label (null or -1)"
            yield entry("skipped", f"examples of {part}", count=missing, why=why)


def _images(
    files: ParquetFiles, part: str, rows: _Rows, keep: Any, image: str
) -> Callable[[], Iterator[Encoded]]:
    def contents() -> Iterator[Encoded]:
        position, kept = 0, 0
        for name in rows.names:
            for row, cell in enumerate(_cells(files, name, image)):
                if keep[position]:
                    described = _described(row, name, cell)
                    yield Encoded(part, kept, described, _loader(cell, described))
                    kept += 1
                position += 1

    return contents


def _cells(files: ParquetFiles, name: str, image: str) -> Iterator[Any]:
    with _open(files, name) as parquet:
        if image not in parquet.schema_arrow.names:
            raise DataError(f"{name} of {files.source} has no column {image!r}")
        for group in range(parquet.num_row_groups):
            rows = _rows_at_once(parquet.metadata.row_group(group), image)
            for batch in parquet.iter_batches(rows, row_groups=[group], columns=[image]):
                yield from batch.column(image).to_pylist()


def _rows_at_once(group: Any, image: str) -> int:
    """So many that their encoded images take a bounded share of memory together."""
    columns = [group.column(number) for number in range(group.num_columns)]
    # The name itself may have a dot.
    size: int = sum(
        column.total_uncompressed_size
        for column in columns
        if column.path_in_schema == image or column.path_in_schema.startswith(f"{image}.")
    )
    rows: int = group.num_rows
    return max(1, min(_ROWS, _BYTES * rows // max(size, 1)))


def _described(row: int, name: str, cell: Any) -> str:
    path = cell.get("path") if isinstance(cell, dict) else None
    return f"row {row} of {name}" + (f": {path}" if isinstance(path, str) else "")


def _loader(cell: Any, described: str) -> Callable[[], bytes]:
    def load() -> bytes:
        content = cell.get("bytes") if isinstance(cell, dict) else cell
        if not isinstance(content, bytes):
            raise UnreadableImage(
                f"{described} has an image without bytes: it only refers to a file"
            )
        return content

    return load
