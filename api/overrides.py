"""Documents of jobs and studies with single values set by the address: `?set=base.optimizer.lr=0.01`."""

from typing import Annotated, Any, TypeAlias

from fastapi import Depends, Query

from api.documents import Document
from api.errors import BadParameter
from studies.overrides import OverrideError, override

_Settings = Annotated[
    list[str] | None,
    Query(
        alias="set",
        max_length=200,
        description="PATH=VALUE, repeatable: sets a value of the document before it is read",
    ),
]


def read_overridden(document: Document, settings: _Settings = None) -> dict[str, Any]:
    """Raises `BadParameter` for a path that leads nowhere."""
    try:
        return override(document, settings or ())
    except OverrideError as error:
        raise BadParameter("set", str(error)) from error


Overridden: TypeAlias = Annotated[dict[str, Any], Depends(read_overridden)]
