"""`base.optimizer.lr=0.01`: values set in a document of a job or a study before it is read as one."""

from collections.abc import Mapping, Sequence
from typing import Any

from runtime.documents import MAX_DEPTH, DocumentError, measure, pointer, read_document

#: Their keys are dotted paths themselves.
_OF_PATHS = ("matrix", "tune")


class OverrideError(ValueError):
    """A setting that can't be applied; the message names it."""


def override(document: Mapping[str, Any], settings: Sequence[str]) -> dict[str, Any]:
    """A copy of the document with each `path=value` applied in order; values are YAML.

    Lists are indexed from 0. Parts that the document leaves out are made, except variants: a name that
    isn't there is more likely a slip than a new one. The result keeps the limits of a document that is read.
    Raises `OverrideError`.
    """
    changed = dict(document)
    for setting in settings:
        path, equals, text = setting.partition("=")
        if not equals or not path.strip():
            raise OverrideError(f"must be PATH=VALUE, such as seeds=16, but got {setting!r:.80}")
        changed = _placed(
            changed, _limited(_segments(path), setting), _value(setting, text), setting
        )
    try:
        measure(changed)
    except DocumentError as error:
        raise OverrideError(f"the document with these values set: {error}") from error
    return changed


def pointer_of(setting: str) -> str:
    """The JSON pointer of what a setting sets."""
    return pointer(*_segments(setting.partition("=")[0]))


def _value(setting: str, text: str) -> Any:
    try:
        return read_document(text)
    except DocumentError as error:
        raise OverrideError(f"{setting!r:.80} has a value that can't be read: {error}") from error


def _segments(path: str) -> list[str]:
    path = path.strip()
    first, dot, rest = path.partition(".")
    if first in _OF_PATHS and dot:
        return [first, rest]
    if path.startswith("search.space."):
        return ["search", "space", path.removeprefix("search.space.")]
    return path.split(".")


def _limited(segments: list[str], setting: str) -> list[str]:
    if len(segments) > MAX_DEPTH:
        have = f"its path has {len(segments)} parts"
        raise OverrideError(f"{setting!r:.80}: {have}, and a document is at most {MAX_DEPTH} deep")
    return segments


def _placed(inside: Any, path: Sequence[str], value: Any, setting: str, above: str = "") -> Any:
    if not path:
        return value
    head, rest = path[0], path[1:]
    place = f"{above}.{head}" if above else head
    match inside:
        case dict():
            if above == "variants" and rest and head not in inside:
                listed = ", ".join(inside)
                raise OverrideError(
                    f"{setting!r:.80}: there is no variant {head!r}; the variants are {listed}"
                )
            return {**inside, head: _placed(inside.get(head), rest, value, setting, place)}
        # The field may be left out of the document and still be in the schema; validation says so if it isn't.
        case None if not head.isdigit():
            return {head: _placed(None, rest, value, setting, place)}
        case list():
            if head not in map(str, range(len(inside))):
                items = f"it has {len(inside)}, counted from 0"
                raise OverrideError(f"{setting!r:.80}: {above} has no item {head!r}: {items}")
            changed = _placed(inside[int(head)], rest, value, setting, place)
            return [*inside[: int(head)], changed, *inside[int(head) + 1 :]]
        case None:
            raise OverrideError(f"{setting!r:.80}: {above} has no item {head!r}: it is empty")
        case _:
            raise OverrideError(
                f"{setting!r:.80}: {above} has no field {head!r}: it is {inside!r:.60}"
            )
