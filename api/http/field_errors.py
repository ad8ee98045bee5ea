"""Errors of single fields, with their line in the document or the `set` parameter that set them."""

from collections.abc import Sequence
from typing import Any

from pydantic import BaseModel, Field

from studies.spec import pointer_of
from trainer.problems import PlaceFinder

_MOST_BYTES_OF_LINES = 2**20
_MOST_OF_SETTING = 200


class FieldError(BaseModel):
    """An error in one field of the document, or in one parameter of the request."""

    pointer: str | None = Field(None, description="JSON pointer into the document that was sent")
    line: int | None = Field(None, description="line of the field in the body, from 1")
    column: int | None = Field(None, description="column of the field in that line, from 1")
    setting: str | None = Field(
        None,
        description="the PATH=VALUE of `set` that set the field, which then has no line in the body",
    )
    parameter: str | None = Field(
        None, description="name of the query parameter, path parameter or header"
    )
    position: int | None = Field(
        None, description="position of the offending character in the parameter, from 0"
    )
    detail: str = Field(description="the value, and the rule it violates")
    layer: str | None = Field(None, description="the network layer concerned")
    remedy: str | None = Field(None, description="how to fix it")


def locate(errors: Sequence[FieldError], body: bytes, settings: Sequence[str]) -> list[FieldError]:
    """With the setting that put there what their pointers name, or its line and column in the body that was
    sent; not in a huge one, which no person has written."""
    # The body is parsed a second time, with positions, and only once it has failed: a good document does not
    # pay for it.
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
        # With a slash at both ends, or `/model/width` would also be found for an error at
        # `/model/width_factor`.
        if f"{pointer}/".startswith(f"{pointer_of(setting)}/"):
            return setting
    return None
