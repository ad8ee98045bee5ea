"""Where two documents differ, value by value."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Difference:
    """A dotted path and its values in two documents; None: nothing."""

    path: str
    left: Any
    right: Any


def list_differences(left: Mapping[str, Any], right: Mapping[str, Any]) -> Sequence[Difference]:
    """By path."""
    # Most parts of two specs of a study are equal. To compare those whole costs far less than value by value.
    parts = [name for name in left.keys() | right.keys() if left.get(name) != right.get(name)]
    lefts, rights = (
        leaves({name: one[name] for name in parts if name in one}) for one in (left, right)
    )
    return [
        Difference(path, lefts.get(path), rights.get(path))
        for path in sorted(lefts.keys() | rights.keys())
        if lefts.get(path) != rights.get(path)
    ]


def leaves(document: Any, path: str = "") -> dict[str, Any]:
    """The values of a document by their dotted paths; a list is one value."""
    if not isinstance(document, Mapping):
        return {path: document}
    found: dict[str, Any] = {}
    for key, value in document.items():
        found |= leaves(value, f"{path}.{key}" if path else str(key))
    return found
