"""Documents of jobs and studies with single values set by query parameters: `?set=base.optimizer.lr=0.01`."""

from typing import Annotated, Any, TypeAlias

from fastapi import Depends, Query, Request
from starlette.concurrency import run_in_threadpool

from api.http.body import Document, ensure_storable, is_json, read_body
from api.http.errors import BadParameter
from runtime.documents import decode
from studies.spec import OverrideError, override

_Settings = Annotated[
    list[str] | None,
    Query(
        alias="set",
        max_length=200,
        description="PATH=VALUE, repeatable: sets a value of the document before it is read",
    ),
]


async def apply_settings(
    request: Request, document: Document, settings: _Settings = None
) -> dict[str, Any]:
    """Raises `BadParameter` for a path that isn't there, and for a result that is no document; `Invalid` for
    values that can't be stored."""
    if not settings:
        return document
    return await run_in_threadpool(_override, request, document, settings)


def _override(request: Request, document: dict[str, Any], settings: list[str]) -> dict[str, Any]:
    # For the answer to a bad document: what was set stands on no line of the body.
    request.state.settings = settings
    try:
        overridden = override(document, settings)
    except OverrideError as error:
        raise BadParameter("set", str(error)) from error
    ensure_storable(overridden)
    return overridden


def read_text(
    request: Request, body: Annotated[bytes, Depends(read_body)], settings: _Settings = None
) -> str | None:
    """The document as it was written, with its comments; None of JSON, which has none, and where values were set."""
    return None if settings or is_json(request) else decode(body)


Written: TypeAlias = Annotated[str | None, Depends(read_text)]
Overridden: TypeAlias = Annotated[dict[str, Any], Depends(apply_settings)]
