"""Exports, spooled to disk so that a slow reader holds no database connection."""

import csv
import io
import json
import tempfile
from collections import OrderedDict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from datetime import datetime
from typing import IO, Any, Literal, TypeAlias

from studies.results import Header, export, flat_metrics, flat_spec, simple

ExportFormat: TypeAlias = Literal["csv", "jsonl"]
TYPES: Mapping[ExportFormat, str] = {
    "csv": "text/csv; charset=utf-8", "jsonl": "application/jsonl",
}  # fmt: skip
#: Of a JSON object that is a whole job: its metrics that are null because they aren't finite.
NOT_FINITE = "non_finite"
#: Lines are sent together up to this many bytes.
_CHUNK = 64 * 1024
#: So many specs are remembered while jobs are written.
_MOST_SPECS = 1000


def spool_rows(
    rows: Iterable[Mapping[str, Any]], *, columns: Sequence[str], format: ExportFormat
) -> Iterator[bytes]:
    """Reads all rows at once; the bytes come when they are taken."""
    write = _write_csv if format == "csv" else _write_lines
    file, _ = _spool(lambda file: write(file, rows, columns))
    return _chunks(file)


def spool_jobs(rows: Iterable[Mapping[str, Any]], *, format: ExportFormat) -> Iterator[bytes]:
    """Whole jobs, a column per metric and field of the spec (`studies.results.export`). Reads all rows at once;
    the bytes come when they are taken, since which columns there are is known only after the last job."""
    file, names = _spool(lambda file: _write_jobs(file, rows))
    header = Header.of(names)
    lines = _csv_lines if format == "csv" else _json_lines
    return _in_chunks(lines(file, header))


def _spool(write: Callable[[IO[bytes]], Iterable[str]]) -> tuple[IO[bytes], Iterable[str]]:
    with ExitStack() as stack:
        file = stack.enter_context(tempfile.TemporaryFile())
        names = write(file)
        file.seek(0)
        # From here on closed by whoever takes the bytes.
        stack.pop_all()
    return file, names


def _write_lines(
    file: IO[bytes], rows: Iterable[Mapping[str, Any]], columns: Sequence[str]
) -> Sequence[str]:
    for row in rows:
        file.write(_encode({name: simple(row[name]) for name in columns}).encode() + b"\n")
    return columns


def _write_csv(
    file: IO[bytes], rows: Iterable[Mapping[str, Any]], columns: Sequence[str]
) -> Sequence[str]:
    text = io.TextIOWrapper(file, "utf-8", newline="", write_through=False)
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(columns)
    writer.writerows([_cell(simple(row[name])) for name in columns] for row in rows)
    # The file stays open: it is read from its beginning.
    text.detach()
    return columns


def _chunks(file: IO[bytes]) -> Iterator[bytes]:
    with file:
        while chunk := file.read(_CHUNK):
            yield chunk


def _write_jobs(file: IO[bytes], rows: Iterable[Mapping[str, Any]]) -> Iterable[str]:
    """Two lines of JSON for each; returns the names of all columns."""
    names: dict[str, None] = {}
    places: OrderedDict[str, int] = OrderedDict()
    for row in rows:
        own = {name: simple(row[name]) for name in export.COLUMNS}
        metrics, non_finite = flat_metrics(row["metrics"]), flat_metrics(row["non_finite"])
        names |= dict.fromkeys((*metrics, *non_finite))
        # The seeds of an arm share their spec's columns, and jobs of one study lie together. Whoever reads the
        # spool keeps them in the same places.
        spec, place = None, places.pop(row["spec"], None)
        if place is None:
            spec = flat_spec(json.loads(row["spec"]))
            names |= dict.fromkeys(spec)
            is_full = len(places) == _MOST_SPECS
            place = places.popitem(last=False)[1] if is_full else len(places)
        places[row["spec"]] = place
        line = f"{_encode(own)}\n{_encode((metrics, non_finite, place, spec))}\n"
        file.write(line.encode())
    return names


def _json_lines(file: IO[bytes], header: Header) -> Iterator[str]:
    """Every line has the same keys in the same order, and what else the row has."""

    def write(values: Sequence[Any]) -> str:
        return _encode(dict(zip(header.spec, values, strict=True)))

    for own, metrics, non_finite, spec in _read_jobs(file, header, write):
        objects = (own, _encode(metrics), spec)
        members = ", ".join(one[1:-1] for one in objects if one != "{}")
        yield f'{{{members}, "{NOT_FINITE}": {_encode(non_finite)}}}\n'


def _csv_lines(file: IO[bytes], header: Header) -> Iterator[str]:
    def write(values: Sequence[Any]) -> str:
        # Behind an empty cell: what is written begins with the comma before the values.
        return _csv_line(["", *values]) if values else ""

    yield f"{_csv_line(header.names)}\n"
    for own, metrics, non_finite, spec in _read_jobs(file, header, write):
        yield f"{_csv_line((json.loads(own) | metrics | non_finite).values())}{spec}\n"


def _read_jobs(
    file: IO[bytes], header: Header, write: Callable[[Sequence[Any]], str]
) -> Iterator[tuple[str, dict[str, Any], dict[str, str], str]]:
    """Of each: its own columns as JSON, its metrics, those that aren't finite, and what `write` makes of its values
    in the spec's columns, which is done once for each spec."""
    specs: dict[int, tuple[dict[str, Any], str]] = {}
    with file:
        for own in file:
            metrics, non_finite, place, spec = json.loads(file.readline())
            if spec is not None:
                # What only older versions' specs have.
                beside = {name: spec.get(name) for name in header.metrics}
                specs[place] = beside, write([spec.get(name) for name in header.spec])
            beside, written = specs[place]
            yield own.decode().rstrip(), beside | metrics, non_finite, written


def _in_chunks(lines: Iterable[str]) -> Iterator[bytes]:
    chunk: list[str] = []
    size = 0
    for line in lines:
        chunk.append(line)
        size += len(line)
        if size > _CHUNK:
            yield "".join(chunk).encode()
            chunk, size = [], 0
    yield "".join(chunk).encode()


def _csv_line(values: Iterable[Any]) -> str:
    text = io.StringIO()
    csv.writer(text, lineterminator="").writerow([_cell(value) for value in values])
    return text.getvalue()


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
