"""Errors as pages, outside of `PageRoute`: addresses that don't exist, wrong methods, and what nobody foresaw."""

import json
from collections.abc import Awaitable, Callable
from http import HTTPStatus

from fastapi import FastAPI, Request
from fastapi.responses import Response
from starlette.exceptions import HTTPException

from api.web.render import error_page

#: What programs ask, and get problem+json of.
_PROGRAMS = (
    "/api/",
    "/docs",
    "/events",
    "/healthz",
    "/metrics",
    "/openapi.json",
    "/readyz",
    "/static/",
)
#: Of the problem itself; a page has a policy of its own, or it could not load its styles.
_OWN_HEADERS = ("content-length", "content-type", "content-security-policy")


def install(app: FastAPI) -> None:
    """After `api.http.error_responses.install`, whose words the pages say."""
    for kind in (HTTPException, Exception):
        app.add_exception_handler(kind, _as_page(app.exception_handlers[kind]))


def _as_page(
    answer: Callable[[Request, Exception], Response | Awaitable[Response]],
) -> Callable[[Request, Exception], Response]:
    def answer_person(request: Request, error: Exception) -> Response:
        problem = answer(request, error)
        assert isinstance(problem, Response)
        if not _is_for_people(request):
            return problem
        detail = json.loads(bytes(problem.body))["detail"]
        # The page's own headers are stricter than a problem's.
        kept = {name: value for name, value in problem.headers.items() if name not in _OWN_HEADERS}
        return error_page(request, HTTPStatus(problem.status_code), detail, kept)

    return answer_person


def _is_for_people(request: Request) -> bool:
    """Whether a browser opens it."""
    accepted = request.headers.get("Accept", "")
    return "text/html" in accepted and not request.url.path.startswith(_PROGRAMS)
