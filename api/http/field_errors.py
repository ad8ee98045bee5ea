"""What is wrong with a field of a document, and where a person finds it: on a line, or in a setting."""

from collections.abc import Sequence
from typing import Any

from pydantic import BaseModel, Field

from studies.spec import pointer_of
from trainer.problems import PlaceFinder

_MOST_BYTES_OF_LINES = 2**20
_MOST_OF_SETTING = 200


class FieldError(BaseModel):
    """What is wrong with one field of the document sent, or with one parameter of the address."""

    pointer: str | None = Field(None, description="JSON pointer into the document that was sent")
    line: int | None = Field(None, description="where that stands in the body, from 1")
    column: int | None = Field(None, description="of the line, from 1")
    setting: str | None = Field(
        None,
        description="the PATH=VALUE of `set` that put it there; it stands on no line of the body",
    )
    parameter: str | None = Field(None, description="of the query, the path or a header")
    position: int | None = Field(None, description="of the character in it that shows why, from 0")
    detail: str = Field(description="the value and the rule")
    layer: str | None = Field(None, description="the network's layer that it concerns")
    remedy: str | None = Field(None, description="what would be right")


def locate(errors: Sequence[FieldError], body: bytes, settings: Sequence[str]) -> list[FieldError]:
    """With the setting that put there what their pointers name, or its line and column in the body that was
    sent; not in a huge one, which no person has written."""
    places = PlaceFinder(body if len(body) <= _MOST_BYTES_OF_LINES else b"")
    placed: list[FieldError] = []
    for error in errors:
        if error.pointer and (setting := _setting_of(error.pointer, settings)):
            update: dict[str, Any] = {"setting": f"{setting:.{_MOST_OF_SETTING}}"}
        elif error.pointer and (place := places.find(error.pointer)):
            update = {"line": place.line, "column": place.column}
        else:
            update = {}
        placed.append(error.model_copy(update=update))
    return placed


def _setting_of(pointer: str, settings: Sequence[str]) -> str | None:
    """The last one that sets what the pointer names, or what that is part of."""
    for setting in reversed(settings):
        if f"{pointer}/".startswith(f"{pointer_of(setting)}/"):
            return setting
    return None
