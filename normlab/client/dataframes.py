"""Answers of the service as pandas DataFrames."""

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import pandas

_NESTED = frozenset({"point", "metrics", "extra", "non_finite", "spec", "warnings"})
_TIMES = ("created_at", "started_at", "finished_at")


def frame(
    rows: Iterable[Mapping[str, Any]], columns: Sequence[str] | None = None
) -> "pandas.DataFrame":
    """One row each; the columns are there even if no row is."""
    # Only here: pandas takes long to import, and most verbs of the command need none of it.
    import pandas

    return pandas.DataFrame(list(rows), columns=list(columns) if columns is not None else None)


def flatten(row: Mapping[str, Any]) -> dict[str, Any]:
    """Metrics and matrix points as columns of their own; what isn't finite is put back."""
    flat = {name: value for name, value in row.items() if name not in _NESTED}
    flat |= dict(row.get("point") or {})
    flat |= dict(row.get("metrics") or {})
    flat |= dict(row.get("extra") or {})
    flat |= {name: float(value) for name, value in (row.get("non_finite") or {}).items()}
    return flat


def flatten_group(group: Mapping[str, Any]) -> dict[str, Any]:
    """The fields that make the group, then its statistics; its interval as `low` and `high`."""
    rest = {key: value for key, value in group.items() if key not in ("by", "interval", "metric")}
    low, high = group["interval"] or (None, None)
    return {**group["by"], **rest, "low": low, "high": high}


def exported_frame(chunks: Iterable[bytes], *, restore: bool = True) -> "pandas.DataFrame":
    """Of an export as JSON lines, with types that every format can hold: whole numbers stay whole where
    some are missing, times are times in UTC, and a column of numbers and texts is text.

    What isn't finite is put back, unless `restore` is False: then it is missing, and `non_finite` names it, as JSON.
    """
    import pandas

    rows = list(_exported(chunks, restore=restore))
    names = dict.fromkeys(name for row in rows for name in row)
    return pandas.DataFrame(
        {name: _series(name, [row.get(name) for row in rows]) for name in names}
    )


def _series(name: str, values: list[Any]) -> "pandas.Series[Any]":
    import pandas

    if name in _TIMES:
        return pandas.Series(pandas.to_datetime(values, utc=True, format="ISO8601"))
    types = {type(value) for value in values if value is not None}
    if types == {bool}:
        return pandas.Series(values, dtype="boolean")
    # numpy's integers can't be missing: a column with one gap would turn to floats, and 3 to 3.0.
    if types == {int}:
        return pandas.Series(values, dtype="Int64")
    if types and types <= {int, float}:
        return pandas.Series(values, dtype="float64")
    texts = [None if value is None else str(value) for value in values]
    return pandas.Series(texts, dtype="string")


def _exported(chunks: Iterable[bytes], *, restore: bool) -> Iterator[dict[str, Any]]:
    for line in _lines(chunks):
        row = json.loads(line)
        non_finite = row.pop("non_finite", None) or {}
        if restore:
            row |= {name: float(value) for name, value in non_finite.items()}
        else:
            row["non_finite"] = json.dumps(non_finite)
        yield row


def _lines(chunks: Iterable[bytes]) -> Iterator[bytes]:
    rest = b""
    for chunk in chunks:
        # Chunks end anywhere, also in the middle of a line or of a character.
        *whole, rest = (rest + chunk).split(b"\n")
        yield from whole
    if rest:
        yield rest
