"""The tables of an export, as Parquet: their columns, and the rows that they are made of."""

import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

if TYPE_CHECKING:
    import pyarrow

Item: TypeAlias = Mapping[str, Any]
#: Reads the rows from their beginning, each time that it is called.
Rows: TypeAlias = Callable[[], Iterable[Item]]

#: Column → type. `json` is text with a JSON value; `numbers` are named numbers, a column for each: `metrics.gap`.
TABLES: Mapping[str, Mapping[str, str]] = {
    "projects": {"name": "text", "visibility": "text", "owner": "text", "role": "text", "created_at": "time"},
    "studies": {
        "id": "integer", "name": "text", "project": "text", "private": "flag", "owner": "text", "status": "text",
        "counts": "json",
        "reused": "integer", "bill": "json", "spec": "json", "baseline": "text", "metric": "text", "warnings": "texts",
        "tags": "texts", "note": "text", "archived": "flag", "numerics": "json", "planned_seeds": "json",
        "declared": "json", "tuning": "json", "search": "json", "pretraining": "json", "growth": "json", "preset": "json", "created_at": "time",
        "trace_id": "text",
        "mlflow_url": "text", "mirror_problems": "json", "mirror_problem_count": "integer",
    },
    "jobs": {
        "id": "integer", "kind": "text", "name": "text", "study_id": "integer", "project": "text", "private": "flag",
        "owner": "text", "variant": "text", "point": "json", "trial": "json", "seed": "integer", "status": "text", "reason": "text",
        "requested_action": "text", "spec": "json", "metrics": "numbers", "non_finite": "json", "warnings": "texts",
        "tags": "texts", "note": "text", "archived": "flag", "error": "text", "attempt": "integer", "step": "integer",
        "total_steps": "integer", "priority": "text", "numerics": "json", "seconds_used": "number",
        "reused_from": "integer", "waits_for": "integer", "created_at": "time", "queued_at": "time",
        "started_at": "time", "finished_at": "time", "trace_id": "text", "mlflow_url": "text",
        "mirror_problems": "json",
    },
    "attempts": {
        "job_id": "integer", "number": "integer", "host": "text", "started_at": "time", "ended_at": "time",
        "end": "text", "first_step": "integer", "environment": "json", "error": "text",
    },
    "epochs": {
        "job_id": "integer", "epoch": "integer", "attempt": "integer", "step": "integer", "train_loss": "number",
        "train_cost": "number", "train_accuracy": "number", "val_loss": "number", "val_accuracy": "number",
        "learning_rate": "number", "seconds": "number", "extra": "numbers", "non_finite": "json",
        "recorded_at": "time",
    },
    "diagnostics": {
        "job_id": "integer", "epoch": "integer", "step": "integer", "attempt": "integer", "layer": "text",
        "statistics": "numbers", "non_finite": "json", "recorded_at": "time",
    },
    "transitions": {
        "job_id": "integer", "at": "time", "who": "text", "from_status": "text", "to_status": "text", "why": "text",
    },
    "logs": {
        "job_id": "integer", "id": "integer", "attempt": "integer", "at": "time", "level": "text", "text": "text",
    },
    "checkpoints": {
        "job_id": "integer", "id": "integer", "attempt": "integer", "kind": "text", "epoch": "integer",
        "step": "integer", "digest": "text", "bytes": "integer", "created_at": "time",
    },
    "files": {
        "job_id": "integer", "name": "text", "digest": "text", "bytes": "integer", "created_at": "time",
    },
    "datasets": {
        "name": "text", "owner": "text", "status": "text", "source": "json", "info": "json", "error": "text",
        "job_id": "integer", "created_at": "time",
    },
}  # fmt: skip

_ROWS_AT_ONCE = 10_000


def write_table(name: str, rows: Rows, target: Path) -> int:
    """Returns how many rows it has. They are read twice: which numbers have names is known after the last row."""
    from pyarrow import Table
    from pyarrow.parquet import ParquetWriter

    kinds = _spread(TABLES[name], rows)
    schema = _schema(kinds)
    count = 0
    with ParquetWriter(target, schema, compression="zstd") as writer:
        for batch in _in_batches(rows()):
            values = [_flat(TABLES[name], row) for row in batch]
            writer.write_table(Table.from_pylist(values, schema=schema))
            count += len(batch)
    return count


def _spread(columns: Mapping[str, str], rows: Rows) -> dict[str, str]:
    """With a column for each name that some row has a number for."""
    named = {column: dict[str, None]() for column, kind in columns.items() if kind == "numbers"}
    if named:
        for row in rows():
            for column, names in named.items():
                names.update(dict.fromkeys(row.get(column) or ()))
    spread: dict[str, str] = {}
    for column, kind in columns.items():
        if kind == "numbers":
            spread |= {f"{column}.{name}": "number" for name in sorted(named[column])}
        else:
            spread[column] = kind
    return spread


def _schema(kinds: Mapping[str, str]) -> "pyarrow.Schema":
    import pyarrow

    types = {
        "integer": pyarrow.int64(),
        "number": pyarrow.float64(),
        "flag": pyarrow.bool_(),
        "text": pyarrow.string(),
        "json": pyarrow.string(),
        "texts": pyarrow.list_(pyarrow.string()),
        "time": pyarrow.timestamp("us", tz="UTC"),
    }
    return pyarrow.schema([(name, types[kind]) for name, kind in kinds.items()])


def _flat(columns: Mapping[str, str], row: Item) -> dict[str, Any]:
    """What a service of another version doesn't send is NULL."""
    flat: dict[str, Any] = {}
    for column, kind in columns.items():
        value = row.get(column)
        if kind == "numbers":
            flat |= {f"{column}.{name}": number for name, number in (value or {}).items()}
        else:
            flat[column] = _cell(kind, value)
    return flat


def _cell(kind: str, value: Any) -> Any:
    if value is None:
        return None
    match kind:
        case "json":
            return json.dumps(value, ensure_ascii=False)
        case "time":
            return datetime.fromisoformat(value)
        case "number":
            return float(value)
        case _:
            return value


def _in_batches(rows: Iterable[Item]) -> Iterator[list[Item]]:
    batch: list[Item] = []
    for row in rows:
        batch.append(row)
        if len(batch) == _ROWS_AT_ONCE:
            yield batch
            batch = []
    yield batch
