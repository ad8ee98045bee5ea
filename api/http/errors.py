"""Errors that endpoints raise; `api.http.error_responses` answers them.

ApiError
├── Unauthorized   401
├── Forbidden      403
├── NotFound       404
├── Conflict       409
├── TooLarge       413
├── BadDocument    400
├── Invalid        422, with a pointer to each field
├── BadParameter   422, with the parameter's name
├── TooMany        429, with Retry-After
├── Unavailable    503, with Retry-After
└── TookTooLong    504
"""

from collections.abc import Iterable, Mapping, Sequence
from http import HTTPStatus
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

from api.http.field_errors import FieldError
from trainer.problems import problems
from trainer.spec import Problem

AnyModel = TypeVar("AnyModel", bound=BaseModel)


class ApiError(Exception):
    """Base of the errors that are answered as problem+json."""

    status = HTTPStatus.INTERNAL_SERVER_ERROR

    def __init__(
        self,
        detail: str,
        errors: Sequence[FieldError] = (),
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(detail)
        self.detail = detail
        self.errors = errors
        self.headers = headers


class BadDocument(ApiError):
    """The body is not a JSON or YAML document."""

    status = HTTPStatus.BAD_REQUEST


class Unauthorized(ApiError):
    """The token is missing or not valid."""

    status = HTTPStatus.UNAUTHORIZED

    def __init__(self, detail: str) -> None:
        super().__init__(detail, headers={"WWW-Authenticate": 'Bearer realm="normlab"'})


class Forbidden(ApiError):
    """The user lacks the permission."""

    status = HTTPStatus.FORBIDDEN


class NotFound(ApiError):
    """The resource does not exist."""

    status = HTTPStatus.NOT_FOUND


class Conflict(ApiError):
    """The request conflicts with the resource's state."""

    status = HTTPStatus.CONFLICT


class TooLarge(ApiError):
    """The body exceeds the size limit."""

    status = HTTPStatus.REQUEST_ENTITY_TOO_LARGE


class Invalid(ApiError):
    """The document fails validation."""

    status = HTTPStatus.UNPROCESSABLE_ENTITY

    def __init__(self, found: Iterable[Problem]) -> None:
        self.problems = tuple(found)
        # Checks return the trainer's `Problem`, which is independent of requests; `FieldError` adds the line,
        # the column and the parameter.
        errors = [FieldError.model_validate(one.model_dump()) for one in self.problems]
        super().__init__(summarize(errors), errors)

    @classmethod
    def at(cls, pointer: str, detail: str, remedy: str | None = None) -> "Invalid":
        return cls([Problem(pointer=pointer, detail=detail, remedy=remedy)])


class BadParameter(ApiError):
    """A query parameter, path parameter or header fails validation."""

    status = HTTPStatus.UNPROCESSABLE_ENTITY

    def __init__(self, parameter: str, detail: str, position: int | None = None) -> None:
        errors = [FieldError(parameter=parameter, detail=detail, position=position)]
        super().__init__(summarize(errors), errors)


class TooMany(ApiError):
    """The person, or the token, asks for more than it may."""

    status = HTTPStatus.TOO_MANY_REQUESTS

    def __init__(self, detail: str, retry_after: int) -> None:
        super().__init__(detail, headers={"Retry-After": str(retry_after)})


class TookTooLong(ApiError):
    """The database needs longer for this request than it may."""

    status = HTTPStatus.GATEWAY_TIMEOUT


class Unavailable(ApiError):
    """The service is temporarily unavailable."""

    status = HTTPStatus.SERVICE_UNAVAILABLE

    def __init__(self, detail: str, retry_after: int) -> None:
        super().__init__(detail, headers={"Retry-After": str(retry_after)})


def parse(model: type[AnyModel], document: Any) -> AnyModel:
    """The model in a document; raises `Invalid` with pointers into it."""
    try:
        return model.model_validate(document)
    except ValidationError as error:
        raise Invalid(problems(error, document, model)) from error


def summarize(errors: Sequence[FieldError]) -> str:
    """The first error, and how many more there are."""
    first = errors[0]
    place = first.parameter or first.pointer
    sentence = f"{place}: {first.detail}" if place else first.detail
    return sentence if len(errors) == 1 else f"{sentence} (and {len(errors) - 1} more)"
