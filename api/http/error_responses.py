"""Responses to errors as RFC 9457 problem+json: our own, the store's, the framework's, and unexpected ones."""

import json
import uuid
from collections.abc import Mapping, Sequence
from http import HTTPStatus

import structlog
from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import Response
from fastapi.routing import iter_route_contexts
from pydantic import BaseModel, ConfigDict, Field
from sqlalchemy.exc import DataError
from starlette.exceptions import HTTPException
from starlette.routing import Match

from api.http.errors import (
    ApiError,
    BadDocument,
    BadParameter,
    Conflict,
    Forbidden,
    Invalid,
    NotFound,
    TookTooLong,
    TooMany,
    Unavailable,
    summarize,
)
from api.http.field_errors import FieldError, locate
from api.http.headers import SAFE
from api.limits import Busy
from api.processes import CheckerUnavailable, RendererBusy
from runtime.documents import DocumentError
from store.db import DATABASE_AWAY, was_too_slow
from store.db import errors as store
from studies.rendering import RenderingFailed
from studies.spec import StudyError
from trainer.problems import MOST_PROBLEMS, explain

MEDIA_TYPE = "application/problem+json"

log = structlog.get_logger(__name__)

#: After which a person who has too many expensive requests asks again.
_BUSY_SECONDS = 2

#: What the parts below raise.
_KNOWN: tuple[type[Exception], ...] = (
    store.StoreError,
    StudyError,
    DocumentError,
    CheckerUnavailable,
    RendererBusy,
    RenderingFailed,
    Busy,
    DataError,
    *DATABASE_AWAY,
)


class ProblemDetails(BaseModel):
    """RFC 9457: what went wrong."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "type": "about:blank",
                    "title": "Unprocessable Content",
                    "status": 422,
                    "detail": "/norm/groups: 5 groups do not divide the 32 channels of features.0",
                    "errors": [
                        {
                            "pointer": "/norm/groups",
                            "line": 4,
                            "column": 22,
                            "detail": "5 groups do not divide the 32 channels of features.0",
                            "layer": "features.0",
                            "remedy": "groups that divide 32: 1, 2, 4, 8, 16, 32",
                        }
                    ],
                }
            ]
        }
    )

    type: str = "about:blank"
    title: str
    status: int
    detail: str
    instance: str | None = Field(None, description="URI of this failure, as in the server's log")
    errors: list[FieldError] = []


def install(app: FastAPI) -> None:
    """Makes every error of the app a problem+json."""
    # Starlette looks handlers up along the class of the exception, so the one of `ApiError` is also its
    # subclasses'. The one of `Exception` runs outside of all middleware, and the exception is raised again
    # after it, for the server's log.
    app.add_exception_handler(ApiError, _answer_api_error)
    app.add_exception_handler(RequestValidationError, _answer_parameters)
    app.add_exception_handler(HTTPException, _answer_framework)
    for kind in _KNOWN:
        app.add_exception_handler(kind, _answer_known)
    app.add_exception_handler(Exception, _answer_unexpected)


def _answer_api_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, ApiError)
    return _respond(error.status, error.detail, find_places(request, error), error.headers)


def _answer_known(request: Request, error: Exception) -> Response:
    return _answer_api_error(request, as_api_error(error))


def find_places(request: Request, error: ApiError) -> list[FieldError]:
    """The errors of single fields, with their places in what was sent."""
    # Both are there only if the request came far enough to have read them.
    body, settings = getattr(request.state, "body", b""), getattr(request.state, "settings", ())
    return locate(error.errors, body, settings)


def is_known(error: Exception) -> bool:
    """Whether `as_api_error` takes it; any other is a fault of ours."""
    return isinstance(error, (ApiError, *_KNOWN))


def as_api_error(error: Exception) -> ApiError:
    match error:
        case ApiError():
            return error
        case StudyError():
            return Invalid(error.problems[:MOST_PROBLEMS])
        case DocumentError():
            place = FieldError(line=error.line, column=error.column, detail=error.problem)
            return BadDocument(str(error), [place] if error.line is not None else [])
        case CheckerUnavailable():
            return Unavailable(f"{error}; nothing was accepted, try again", error.retry_after)
        case RendererBusy():
            return Unavailable(f"{error}; try again", error.retry_after)
        case Busy():
            return TooMany(str(error), _BUSY_SECONDS)
        case RenderingFailed():
            return ApiError(f"{error}; the report is available as json and as markdown")
        case store.StoreError():
            return _refused_by_store(error)
        # A number beyond a column's range, for instance. Only the first line of PostgreSQL's message: those
        # after it may quote the statement and its values.
        case DataError():
            return Invalid.at("", f"not storable: {str(error.orig).splitlines()[0]}")
        # No 503: clients would repeat by themselves what takes so long each time.
        case _ if was_too_slow(error):
            log.warning("a statement took too long", error=str(error))
            return TookTooLong(
                "the database took too long and was stopped; nothing was changed: ask for less at once, for "
                "instance with a narrower `query` or a smaller `limit`"
            )
        # One of DATABASE_AWAY. A request makes its changes in one transaction, and a lost connection rolls it
        # back: "nothing was changed" holds except when the connection broke during the commit itself, and
        # against that there are idempotency keys.
        case _:
            log.warning("the database does not answer", error=str(error))
            return Unavailable("the database does not answer; nothing was changed, try again", 5)


def _refused_by_store(error: store.StoreError) -> ApiError:
    """What it refuses for a reason of its own has a case; what is left concerns the state of a row."""
    match error:
        case store.NotFound():
            return NotFound(str(error))
        case store.PriorityRefused() | store.ProjectRefused():
            return Forbidden(str(error))
        case store.NameTaken():
            return Conflict(str(error), [FieldError(pointer="/name", detail=str(error))])
        case store.OutlivesParent():
            return Invalid.at(
                "/expires_at", str(error), "omit it: the token then expires with its parent"
            )
        case store.BadCursor():
            return BadParameter("cursor", str(error))
        case store.BadQuery():
            return BadParameter("query", str(error), error.position)
        case store.KeyReused():
            return BadParameter("Idempotency-Key", str(error))
        case store.DatasetUnavailable() | store.MixedDevices():
            return Invalid.at("", str(error))
        case _:
            return Conflict(str(error))


def _answer_parameters(request: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)
    errors = describe_parameters(error)
    return _respond(HTTPStatus.UNPROCESSABLE_ENTITY, summarize(errors), errors)


def describe_parameters(error: RequestValidationError) -> list[FieldError]:
    """Each parameter that is refused: its name, the rule, and what it was."""
    return [FieldError(parameter=_name(one["loc"]), detail=explain(one)) for one in error.errors()]


def _name(place: Sequence[str | int]) -> str:
    """Of the parameter, also where one of its several values is wrong: `query`, its name, and the value's place."""
    return str(place[1] if len(place) > 1 else place[0])


def _answer_framework(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    status = HTTPStatus(error.status_code)
    match status:
        case HTTPStatus.NOT_FOUND:
            detail = f"there is nothing at {request.url.path}"
        case HTTPStatus.METHOD_NOT_ALLOWED:
            allowed = ", ".join(_allowed_methods(request))
            detail = f"{request.url.path} takes {allowed}, not {request.method}"
            return _respond(status, detail, headers={"Allow": allowed})
        case _:
            detail = str(error.detail)
    return _respond(status, detail, headers=error.headers)


def _allowed_methods(request: Request) -> list[str]:
    """Of all routes of this address; the framework names those of the first."""
    methods: set[str] = set()
    for route in iter_route_contexts(request.app.routes):
        if route.matches(request.scope)[0] is not Match.NONE:
            methods |= route.methods or set()
    return sorted(methods)


def _answer_unexpected(request: Request, error: Exception) -> Response:
    # The client gets a reference instead of the message: an unforeseen exception may hold paths, SQL or
    # secrets.
    name = f"urn:uuid:{uuid.uuid4()}"
    log.error(
        "a request failed", method=request.method, path=request.url.path, name=name, exc_info=error
    )
    detail = f"internal error; quote reference {name} to the operator"
    return _respond(HTTPStatus.INTERNAL_SERVER_ERROR, detail, instance=name)


def _respond(
    status: HTTPStatus,
    detail: str,
    errors: Sequence[FieldError] = (),
    headers: Mapping[str, str] | None = None,
    instance: str | None = None,
) -> Response:
    body = ProblemDetails(
        title=status.phrase,
        status=status,
        detail=detail,
        instance=instance,
        errors=list(errors),
    )
    # Not `model_dump_json`: what was sent may stand in it, and may hold surrogates, which UTF-8 lacks.
    text = json.dumps(body.model_dump(exclude_none=True), ensure_ascii=False)
    return Response(
        text.encode("utf-8", "replace"),
        status_code=status,
        # An unexpected error is answered outside of all middleware.
        headers={**SAFE, **(headers or {})},
        media_type=MEDIA_TYPE,
    )
