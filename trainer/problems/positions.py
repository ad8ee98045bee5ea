"""Where in a document's text a JSON pointer leads: line and column, for messages. Imports neither torch nor
pydantic."""

import json
import re
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import yaml

from runtime.documents import decode

_DECODER = json.JSONDecoder()
_SPACE = re.compile(r"[ \t\r\n]*")
_MERGE = "<<"
_LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


@dataclass(frozen=True, slots=True)
class Place:
    """Both count from 1."""

    line: int
    column: int


class PlaceFinder:
    """Finds places in one text; YAML is composed once, when it is first needed."""

    def __init__(self, text: str | bytes) -> None:
        self._bytes = text

    def find(self, pointer: str) -> Place | None:
        """Where the member that the pointer names stands: its key, or the item of a list; where it is missing,
        the part of the document that lacks it. None for the whole document, and for text that can't be read."""
        segments = [part.replace("~1", "/").replace("~0", "~") for part in pointer.split("/")[1:]]
        try:
            offset = _find_in_json(self._text, segments)
            return None if offset is None else _place_at(self._text, offset)
        except (ValueError, IndexError, RecursionError):
            return _find_in_yaml(self._node, segments)

    @cached_property
    def _text(self) -> str:
        try:
            return decode(self._bytes)
        except UnicodeDecodeError:
            return ""

    @cached_property
    def _node(self) -> Any:
        try:
            return yaml.compose(self._text, Loader=_LOADER)
        except (yaml.YAMLError, RecursionError, ValueError):
            return None


def _place_at(text: str, offset: int) -> Place:
    before = text[:offset]
    return Place(before.count("\n") + 1, offset - (before.rfind("\n") + 1) + 1)


def _find_in_json(text: str, segments: list[str]) -> int | None:
    """Raises ValueError or IndexError where the text isn't JSON. Values on the way are skipped by the decoder
    written in C: a body of megabytes takes milliseconds."""
    at, found = _skip(text, 0), None
    if text[at] not in "{[":
        raise ValueError("not a JSON object or list")
    for segment in segments:
        inside = _json_member(text, at, segment)
        if inside is None:
            break
        found, at = inside
    return found


def _json_member(text: str, at: int, segment: str) -> tuple[int, int] | None:
    """Offsets of the key or item, and of its value."""
    opening = text[at]
    if opening not in "{[":
        return None
    at, number = _skip(text, at + 1), 0
    while text[at] not in "}]":
        start, name = at, str(number)
        if opening == "{":
            if text[at] != '"':
                raise ValueError("not JSON")
            name, at = _DECODER.raw_decode(text, at)
            at = _skip(text, at)
            if text[at] != ":":
                raise ValueError("not JSON")
            at = _skip(text, at + 1)
        if name == segment:
            return start, at
        _, at = _DECODER.raw_decode(text, at)
        at, number = _skip(text, at), number + 1
        if text[at] == ",":
            at = _skip(text, at + 1)
        elif text[at] not in "}]":
            raise ValueError("not JSON")
    return None


def _skip(text: str, at: int) -> int:
    space = _SPACE.match(text, at)
    assert space is not None
    return space.end()


def _find_in_yaml(node: Any, segments: list[str]) -> Place | None:
    found = None
    for segment in segments:
        inside = _yaml_member(node, segment)
        if inside is None:
            break
        found, node = inside
    return None if found is None else Place(found.line + 1, found.column + 1)


def _yaml_member(node: Any, segment: str) -> tuple[yaml.Mark, Any] | None:
    """The mark of the key or item, and its value; an alias leads to where the value is written."""
    match node:
        case yaml.SequenceNode(value=items) if segment.isdecimal() and int(segment) < len(items):
            item = items[int(segment)]
            return item.start_mark, item
        case yaml.MappingNode(value=pairs):
            for key, value in pairs:
                if key.value == segment:
                    return key.start_mark, value
            merged = [value for key, value in pairs if key.value == _MERGE]
            parts = [part for one in merged for part in _merged_parts(one)]
            return next((inside for part in parts if (inside := _yaml_member(part, segment))), None)
        case _:
            return None


def _merged_parts(node: Any) -> list[Any]:
    return list(node.value) if isinstance(node, yaml.SequenceNode) else [node]
