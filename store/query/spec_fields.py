"""Every value that a job's spec may hold, by dotted name, read off the spec's JSON Schema.

Alternatives contribute all their options' fields. Of a list any element counts; where its elements have a
`kind`, `regularization.dropout.p` is that of one kind and `regularization.p` that of any.
"""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any, TypeAlias

from trainer.spec import JobSpec

Schema: TypeAlias = Mapping[str, Any]

_TYPES = {"integer": "number", "number": "number", "string": "text", "boolean": "flag"}


@dataclass(frozen=True, slots=True)
class SpecField:
    """`type`: number, text or flag; `path`: jsonpath to its values, more than one if `many`; `choices`:
    all that a text may be, none if it is free."""

    name: str
    type: str
    path: str
    many: bool
    choices: tuple[str, ...] = ()


@cache
def spec_fields() -> Mapping[str, SpecField]:
    """By name, in the order of the spec."""
    schema = JobSpec.model_json_schema(mode="serialization")
    leaves: dict[str, list[_Leaf]] = {}
    for leaf in _leaves(_Place(schema["$defs"]), schema):
        leaves.setdefault(leaf.place.name, []).append(leaf)
    return {name: _merged(name, found) for name, found in leaves.items()}


@dataclass(frozen=True, slots=True)
class _Place:
    """Where the walk is; `definitions` are those that `$ref` points to."""

    definitions: Mapping[str, Schema]
    name: str = ""
    path: str = "$"
    many: bool = False

    def key(self, key: str) -> "_Place":
        name = f"{self.name}.{key}" if self.name else key
        return _Place(self.definitions, name, f"{self.path}.{json.dumps(key)}", self.many)

    def element(self, kind: str | None = None) -> "_Place":
        if kind is None:
            return _Place(self.definitions, self.name, f"{self.path}[*]", many=True)
        # The filter keeps the options of different kinds apart: without it `regularization.dropout.p` would
        # find the `p` of any technique in the list.
        chosen = f'{self.path}[*] ? (@."kind" == {json.dumps(kind)})'
        return _Place(self.definitions, f"{self.name}.{kind}", chosen, many=True)


@dataclass(frozen=True, slots=True)
class _Leaf:
    place: _Place
    schema: Schema


def _leaves(place: _Place, schema: Schema) -> Iterator[_Leaf]:
    for option in _options(place, schema):
        if "properties" in option:
            for key, inner in option["properties"].items():
                yield from _leaves(place.key(key), inner)
        elif option.get("type") == "array":
            for inner in (*option.get("prefixItems", ()), option.get("items") or {}):
                yield from _elements(place, inner)
        elif option.get("type") in _TYPES:
            yield _Leaf(place, option)


def _elements(place: _Place, schema: Schema) -> Iterator[_Leaf]:
    for option in _options(place, schema):
        yield from _leaves(place.element(), option)
        kind = option.get("properties", {}).get("kind", {}).get("const")
        if kind is not None:
            rest = {key: one for key, one in option["properties"].items() if key != "kind"}
            yield from _leaves(place.element(kind), {**option, "properties": rest})


def _options(place: _Place, schema: Schema) -> Iterator[Schema]:
    """What may stand here, references followed and alternatives spread out."""
    if "$ref" in schema:
        yield from _options(place, place.definitions[schema["$ref"].rpartition("/")[2]])
    elif alternatives := schema.get("oneOf") or schema.get("anyOf"):
        for one in alternatives:
            yield from _options(place, one)
    else:
        yield schema


def _merged(name: str, leaves: list[_Leaf]) -> SpecField:
    # Fails when the process starts, and so in the tests, if a new option gives an old name another type: a
    # query could not say what it compares.
    [kind] = {_TYPES[leaf.schema["type"]] for leaf in leaves}
    choices: dict[str, None] = {}
    for leaf in leaves:
        values = leaf.schema.get("enum") or [
            leaf.schema[key] for key in ("const",) if key in leaf.schema
        ]
        choices |= dict.fromkeys(values)
        if not values:
            choices.clear()
            break
    # A value that may also be a list of them is found by the list's path as well.
    longest = max((leaf.place for leaf in leaves), key=lambda place: len(place.path))
    many = any(leaf.place.many for leaf in leaves)
    return SpecField(name, kind, longest.path, many, tuple(choices) if kind == "text" else ())
