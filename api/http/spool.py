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
    names: dict[str, None] = dict.fromkeys(columns or ())
    with ExitStack() as stack:
        file = stack.enter_context(tempfile.TemporaryFile())
        for row in rows:
            if columns is None:
                flat = flat_row(row)
                names |= dict.fromkeys(flat)
                flat[NOT_FINITE] = not_finite(row)
            else:
                flat = {name: simple(value) for name, value in row.items()}
            file.write(json.dumps(flat, ensure_ascii=False, default=_text).encode() + b"\n")
        file.seek(0)
        # From here on closed by whoever takes the bytes.
        stack.pop_all()
    header = list(names) if columns is not None else in_order(names)
    return _csv(file, header) if format == "csv" else _lines(file, header)


def _lines(file: IO[bytes], header: Sequence[str]) -> Iterator[bytes]:
    """Every line has the same keys in the same order, and what else the row has."""
    nothing = dict.fromkeys(header)
    with file:
        for line in file:
            yield json.dumps(nothing | json.loads(line), ensure_ascii=False).encode() + b"\n"


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
    return str(value).lower() if isinstance(value, bool) else value


def _text(value: Any) -> str:
    assert isinstance(value, datetime), value
    return value.isoformat()
