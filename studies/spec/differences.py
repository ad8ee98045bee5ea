"""Where two documents differ, value by value."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Difference:
    """A dotted path and what stands there in the one and in the other; None: nothing."""

    path: str
    one: Any
    other: Any


def list_differences(one: Mapping[str, Any], other: Mapping[str, Any]) -> Sequence[Difference]:
    """By path."""
    mine, theirs = leaves(one), leaves(other)
    return [
        Difference(path, mine.get(path), theirs.get(path))
        for path in sorted(mine.keys() | theirs.keys())
        if mine.get(path) != theirs.get(path)
    ]


def leaves(document: Any, path: str = "") -> dict[str, Any]:
    """The values of a document by their dotted paths; a list is one value."""
    if not isinstance(document, Mapping):
        return {path: document}
    found: dict[str, Any] = {}
    for key, value in document.items():
        found |= leaves(value, f"{path}.{key}" if path else str(key))
    return found
