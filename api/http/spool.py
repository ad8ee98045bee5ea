"""Exports, spooled to disk so that a slow reader holds no database connection."""

import csv
import io
import json
import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from datetime import datetime
from typing import IO, Any, Literal, TypeAlias

from studies.results import flat_row, in_order, not_finite, simple

ExportFormat: TypeAlias = Literal["csv", "jsonl"]
TYPES: Mapping[ExportFormat, str] = {
    "csv": "text/csv; charset=utf-8", "jsonl": "application/jsonl",
}  # fmt: skip
#: Of a JSON object that is a whole job: its metrics that are null because they aren't finite.
NOT_FINITE = "non_finite"
#: Lines of CSV are sent together up to this many characters.
_CHUNK = 64 * 1024


def spool_rows(
    rows: Iterable[Mapping[str, Any]], columns: Sequence[str] | None, format: ExportFormat
) -> Iterator[bytes]:
    """Reads all rows at once, flat unless there are chosen columns; the bytes come when they are taken."""
    with ExitStack() as stack:
        file = stack.enter_context(tempfile.TemporaryFile())
        header = _write_flat(file, rows) if columns is None else None
        if columns is not None:
            # The columns are known, so that what is written is what is sent.
            write = _write_csv if format == "csv" else _write_lines
            write(file, rows, columns)
        file.seek(0)
        # From here on closed by whoever takes the bytes.
        stack.pop_all()
    if header is None:
        return _chunks(file)
    return _csv(file, header) if format == "csv" else _lines(file, header)


def _write_flat(file: IO[bytes], rows: Iterable[Mapping[str, Any]]) -> list[str]:
    """Lines of JSON, each with the columns that its job has; returns the names of all."""
    names: dict[str, None] = {}
    for row in rows:
        flat = flat_row(row)
        names |= dict.fromkeys(flat)
        flat[NOT_FINITE] = not_finite(row)
        file.write(_encode(flat).encode() + b"\n")
    return in_order(names)


def _write_lines(
    file: IO[bytes], rows: Iterable[Mapping[str, Any]], columns: Sequence[str]
) -> None:
    for row in rows:
        file.write(_encode({name: simple(row[name]) for name in columns}).encode() + b"\n")


def _write_csv(file: IO[bytes], rows: Iterable[Mapping[str, Any]], columns: Sequence[str]) -> None:
    text = io.TextIOWrapper(file, "utf-8", newline="", write_through=False)
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(columns)
    writer.writerows([_cell(simple(row[name])) for name in columns] for row in rows)
    # The file stays open: it is read from its beginning.
    text.detach()


def _chunks(file: IO[bytes]) -> Iterator[bytes]:
    with file:
        while chunk := file.read(_CHUNK):
            yield chunk


def _lines(file: IO[bytes], header: Sequence[str]) -> Iterator[bytes]:
    """Every line has the same keys in the same order, and what else the row has."""
    nothing = dict.fromkeys(header)
    with file:
        for line in file:
            yield _encode(nothing | json.loads(line)).encode() + b"\n"


def _csv(file: IO[bytes], header: Sequence[str]) -> Iterator[bytes]:
    text = io.StringIO()
    writer = csv.DictWriter(text, header, lineterminator="\n")
    writer.writeheader()
    with file:
        for line in file:
            cells = json.loads(line)
            cells |= cells.pop(NOT_FINITE, {})
            writer.writerow({name: _cell(value) for name, value in cells.items()})
            if text.tell() > _CHUNK:
                yield text.getvalue().encode()
                text.seek(0)
                text.truncate()
        yield text.getvalue().encode()


def _cell(value: Any) -> Any:
    match value:
        case bool():
            return str(value).lower()
        case datetime():
            return _text(value)
        case _:
            return value


def _text(value: Any) -> str:
    assert isinstance(value, datetime), value
    return value.isoformat()


#: Made once: `json.dumps` with options makes an encoder for each row.
_encode = json.JSONEncoder(ensure_ascii=False, default=_text).encode
