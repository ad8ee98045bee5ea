"""The body of a request as a document: read within its limit, from JSON or YAML."""

import math
from collections.abc import Iterator
from typing import Annotated, Any, TypeAlias

from fastapi import Depends, Request
from starlette.concurrency import run_in_threadpool

from api.http.errors import BadDocument, Invalid, TooLarge
from api.services import Services, get_services
from runtime.documents import pointer, read_document
from trainer.spec import Problem

#: JSON up to this length is read in less time than it takes to hand it to a thread.
_SHORT_BYTES = 16 * 1024


async def read_body(
    request: Request, services: Annotated[Services, Depends(get_services)]
) -> bytes:
    """The bytes of the body, refused as soon as they are too many."""
    kind, limit = "a JSON body", services.settings.body_bytes
    if not is_json(request):
        kind, limit = "a body not declared as JSON", min(services.settings.yaml_bytes, limit)
    refusal = TooLarge(f"{kind} may have at most {limit} bytes")
    # The header spares reading what will be refused anyway. It may be absent or wrong, so what really comes
    # is counted as well.
    length = request.headers.get("content-length", "0")
    if length.isdigit() and int(length) > limit:
        raise refusal
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > limit:
            raise refusal
    # For the answer to a bad document, which says on which line it is bad.
    request.state.body = bytes(body)
    return bytes(body)


async def read_mapping(
    request: Request, body: Annotated[bytes, Depends(read_body)]
) -> dict[str, Any]:
    """The mapping in the body; a document that takes long to read is read beside the event loop."""
    as_json = is_json(request)
    if as_json and len(body) <= _SHORT_BYTES:
        return _parse_mapping(body, as_json=True)
    return await run_in_threadpool(_parse_mapping, body, as_json=as_json)


def _parse_mapping(body: bytes, *, as_json: bool) -> dict[str, Any]:
    # By the declared type, not by looking at the bytes: PyYAML reads about 0.2 MB a second, a JSON parser a
    # hundred times as much, hence the two limits.
    document = read_document(body, as_json=as_json) if body.strip() else None
    if document is None:
        raise BadDocument("a JSON or YAML document is required, but the body is empty")
    if not isinstance(document, dict):
        raise Invalid.at("", f"must be a mapping of keys to values, but got {_kind(document)}")
    ensure_storable(document)
    return document


Document: TypeAlias = Annotated[dict[str, Any], Depends(read_mapping)]


def ensure_storable(document: dict[str, Any]) -> None:
    """Raises `Invalid` for values that no field may hold."""
    if problems := list(_unstorable(document, ())):
        raise Invalid(problems)


def is_json(request: Request) -> bool:
    """A body that isn't declared as JSON is read as YAML, a superset of JSON: curl declares a document as
    `application/x-www-form-urlencoded` unless told otherwise."""
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    return kind == "application/json" or kind.endswith("+json")


def _kind(value: Any) -> str:
    return "a list" if isinstance(value, list) else f"{value!r:.60}"


def _unstorable(value: Any, path: tuple[str | int, ...]) -> Iterator[Problem]:
    """What no field may hold, wherever it stands: NaN and infinity, NUL, half a surrogate pair."""
    match value:
        case dict():
            for key, inside in value.items():
                unfit = list(_unstorable(key, path))
                # A pointer could not be written through a key that is itself no text.
                yield from unfit or _unstorable(inside, (*path, key))
        case list():
            for index, inside in enumerate(value):
                yield from _unstorable(inside, (*path, index))
        case float() if not math.isfinite(value):
            yield Problem(
                pointer=pointer(*path), detail=f"must be a finite number, but got {value}"
            )
        case str() if "\x00" in value or any("\ud800" <= letter <= "\udfff" for letter in value):
            detail = f"must be text without NUL and lone surrogates, but got {value!r:.80}"
            yield Problem(pointer=pointer(*path), detail=detail)
