"""Labels of parquet columns: numbers or names of whatever type, to classes 0 … k−1 that all have examples."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy
import numpy.typing
import pyarrow

from trainer.data.sources.records import entry
from trainer.errors import DataError
from trainer.spec import RecordEntry

Codes: TypeAlias = numpy.typing.NDArray[numpy.int64]
Value: TypeAlias = int | str

#: The code of an example without a label: null, NaN or −1, as hidden test labels are written.
NONE = -1


@dataclass(frozen=True, slots=True)
class Labels:
    """`codes` index `values`, in the order in which they came; `floats`: whole numbers stored as such."""

    codes: Codes
    values: tuple[Value, ...]
    floats: bool = False

    @property
    def missing(self) -> int:
        return int((self.codes == NONE).sum())


@dataclass(frozen=True, slots=True)
class Numbered:
    """Classes with examples in train, and each part's labels as numbers of them (or NONE)."""

    classes: tuple[str, ...]
    labels: Mapping[str, Codes]
    record: tuple[RecordEntry, ...]


def read_labels(columns: Sequence[pyarrow.ChunkedArray], label: str) -> Labels:
    """One split's columns, one a file, as one; DataError for what is no class number or name."""
    index: dict[Value, int] = {}
    codes: list[Codes] = []
    floats = False
    for column in columns:
        floats = floats or pyarrow.types.is_floating(_stored(column.type))
        for chunk in _plain(column, label).chunks:
            encoded = chunk.dictionary_encode()
            values = [_value(value, label) for value in _listed(encoded.dictionary, label)]
            # The last is what a null's index of −1 picks.
            renumbered = [
                NONE if value is None else index.setdefault(value, len(index)) for value in values
            ]
            picked = encoded.indices.fill_null(NONE).to_numpy(zero_copy_only=False)
            codes.append(numpy.array([*renumbered, NONE], dtype=numpy.int64)[picked])
    if len({type(value) for value in index}) > 1:
        raise DataError(f"column {label!r} holds numbers in one file and names in another")
    joined = numpy.concatenate(codes) if codes else numpy.empty(0, dtype=numpy.int64)
    return Labels(joined, tuple(index), floats)


def _stored(kind: pyarrow.DataType) -> pyarrow.DataType:
    return kind.value_type if pyarrow.types.is_dictionary(kind) else kind


def _plain(column: pyarrow.ChunkedArray, label: str) -> pyarrow.ChunkedArray:
    """As int64, float64, text or nothing at all, which is what a class may be."""
    kind = _stored(column.type)
    types = pyarrow.types
    if types.is_boolean(kind) or types.is_integer(kind):
        wanted = pyarrow.int64()
    elif types.is_floating(kind):
        wanted = pyarrow.float64()
    elif types.is_string(kind) or types.is_large_string(kind) or types.is_string_view(kind):
        wanted = pyarrow.large_string()
    elif types.is_null(kind):
        wanted = kind
    else:
        raise DataError(
            f"column {label!r} holds {kind} but each image needs one class number or name"
        )
    try:
        return column.cast(kind).cast(wanted)
    except pyarrow.ArrowException as error:
        raise DataError(f"column {label!r} cannot be read as classes: {error}") from None


def _listed(values: pyarrow.Array, label: str) -> list[Any]:
    try:
        found: list[Any] = values.to_pylist()
    except UnicodeDecodeError as error:
        raise DataError(f"column {label!r} has a name that is not UTF-8: {error}") from None
    return found


def _value(value: Any, label: str) -> Value | None:
    if isinstance(value, str):
        if "\0" in value:
            raise DataError(f"column {label!r} has {value!r}, a name with a NUL character")
        return value
    if value is None or value == NONE or value != value:
        return None
    if not 0 <= value < 2**63 or value != int(value):
        raise DataError(
            f"column {label!r} must hold class numbers (0, 1, …) or names but has {value!r}"
        )
    return int(value)


def number(parts: Mapping[str, Labels], names: Sequence[str] | None, label: str) -> Numbered:
    """`names` are those of numbers, where the files keep them. DataError for a class that train lacks."""
    train = parts["train"]
    used = sorted({train.values[code] for code in numpy.unique(train.codes) if code != NONE})
    texts = {value: _name(value, names, label) for value in used}
    position = {value: number for number, value in enumerate(used)}
    labels = {part: _renumber(given, position, part, names, label) for part, given in parts.items()}
    record = (*_mapped(train, used, position), *_dropped(used, names))
    return Numbered(tuple(texts[value] for value in used), labels, record)


def _name(value: Value, names: Sequence[str] | None, label: str) -> str:
    if isinstance(value, str) or names is None:
        return str(value)
    if value >= len(names):
        raise DataError(
            f"column {label!r} has class {value} but only {len(names)} names, "
            f"for 0 to {len(names) - 1}"
        )
    return names[value]


def _renumber(
    given: Labels,
    position: Mapping[Value, int],
    part: str,
    names: Sequence[str] | None,
    label: str,
) -> Codes:
    """A value may be in `values` without an example, so only those that occur are looked up."""
    table = numpy.full(len(given.values) + 1, NONE, dtype=numpy.int64)
    for code in numpy.unique(given.codes):
        if code == NONE:
            continue
        value = given.values[code]
        if value not in position:
            raise DataError(
                f"class {_name(value, names, label)!r} has examples in {part} but none in train"
            )
        table[code] = position[value]
    renumbered: Codes = table[given.codes]
    return renumbered


def _mapped(
    train: Labels, used: Sequence[Value], position: Mapping[Value, int]
) -> list[RecordEntry]:
    numbers = [value for value in used if isinstance(value, int)]
    entries = []
    if train.floats and numbers:
        what = "labels that are whole numbers stored as floats to class numbers"
        entries.append(entry("mapped", what, count=len(train.codes) - train.missing))
    moved = [f"{value} to {position[value]}" for value in numbers if value != position[value]]
    if moved:
        what = f"labels {_range(numbers)} to classes {_range(range(len(used)))}"
        why = "class numbers are 0, 1, … without gaps"
        count = len(train.codes) - train.missing
        entries.append(entry("mapped", what, moved, count=count, why=why))
    return entries


def _range(numbers: Sequence[int]) -> str:
    if numbers[-1] - numbers[0] == len(numbers) - 1:
        return f"{numbers[0]} to {numbers[-1]}"
    few = [str(number) for number in numbers[:5]]
    return ", ".join(few if len(numbers) <= 5 else [*few, "…", str(numbers[-1])])


def _dropped(used: Sequence[Value], names: Sequence[str] | None) -> list[RecordEntry]:
    if names is None or (used and isinstance(used[0], str)):
        return []
    taken = set(used)
    unused = [name for number, name in enumerate(names) if number not in taken]
    if not unused:
        return []
    return [entry("skipped", "names of classes", unused, why="no example in train has them")]
