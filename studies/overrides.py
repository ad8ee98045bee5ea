"""`base.optimizer.lr=0.01`: values set in a document of a job or a study before it is read as one."""

from collections.abc import Mapping, Sequence
from typing import Any

from trainer.documents import DocumentError, read_document

#: Their keys are dotted paths themselves.
_OF_PATHS = ("matrix", "tune")


class OverrideError(ValueError):
    """A setting that can't be applied; the message names it."""


def override(document: Mapping[str, Any], settings: Sequence[str]) -> dict[str, Any]:
    """A copy of the document with each `path=value` applied in order; values are YAML.

    Lists are indexed from 0. Parts that the document leaves out are made, except variants: a name that
    isn't there is more likely a slip than a new one. Raises `OverrideError`.
    """
    changed = dict(document)
    for setting in settings:
        path, equals, text = setting.partition("=")
        if not equals or not path.strip():
            raise OverrideError(f"must be PATH=VALUE, such as seeds=16, but got {setting!r}")
        changed = _placed(changed, _segments(path.strip()), _value(setting, text), setting)
    return changed


def _value(setting: str, text: str) -> Any:
    try:
        return read_document(text)
    except DocumentError as error:
        raise OverrideError(f"{setting!r} has a value that can't be read: {error}") from error


def _segments(path: str) -> list[str]:
    first, dot, rest = path.partition(".")
    if first in _OF_PATHS and dot:
        return [first, rest]
    return path.split(".")


def _placed(inside: Any, path: Sequence[str], value: Any, setting: str, above: str = "") -> Any:
    if not path:
        return value
    head, rest = path[0], path[1:]
    place = f"{above}.{head}" if above else head
    match inside:
        case dict():
            if above == "variants" and rest and head not in inside:
                listed = ", ".join(inside)
                raise OverrideError(f"{setting!r}: there is no variant {head!r}, but {listed}")
            return {**inside, head: _placed(inside.get(head), rest, value, setting, place)}
        case None if not head.isdigit():
            return {head: _placed(None, rest, value, setting, place)}
        case list():
            if head not in map(str, range(len(inside))):
                have = f"{above} has {len(inside)} items, counted from 0"
                raise OverrideError(f"{setting!r} leads nowhere at {head!r}: {have}")
            changed = _placed(inside[int(head)], rest, value, setting, place)
            return [*inside[: int(head)], changed, *inside[int(head) + 1 :]]
        case _:
            have = f"{above or 'the document'} is {inside!r:.60}"
            raise OverrideError(f"{setting!r} leads nowhere at {head!r}: {have}")
