"""Pages as HTML: the templates with what they share, and errors as pages.

Each template is both a whole page and, for a request of htmx, the part of it that changes: what a browser replaces is
made by the same lines as what it first showed.
"""

import json
import re
from collections.abc import Callable, Coroutine, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cache
from http import HTTPStatus
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlsplit

import jinja2
from fastapi import Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import HTMLResponse, RedirectResponse, Response
from fastapi.routing import APIRoute
from markupsafe import Markup, escape
from sqlalchemy.exc import SQLAlchemyError
from starlette.concurrency import run_in_threadpool

from api.http import (
    BadParameter,
    Unauthorized,
    as_api_error,
    authenticate,
    clear_session,
    cookie_name,
    csrf_token,
    describe_parameters,
    is_known,
    read_session,
    summarize,
)
from store.db import BadQuery, User
from store.hosts import describe_bytes
from studies.stats import amount, inference
from trainer.spec import describe_duration

FOLDER = Path(__file__).parent
#: `95 %`
CONFIDENCE = f"{inference.CONFIDENCE * 100:g} %"
#: Nothing from elsewhere, and neither scripts nor styles inside the page.
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; "
    "form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
)
#: Address and name, in the order of the navigation.
PAGES = {
    "/": "Now",
    "/studies": "Studies",
    "/projects": "Projects",
    "/results": "Results",
    "/submit": "Submit",
    "/presets": "Presets",
    "/datasets": "Datasets",
}
_HEADERS = {"Content-Security-Policy": POLICY, "Referrer-Policy": "same-origin"}


class PageRoute(APIRoute):
    """A route whose errors are pages; whoever isn't logged in is led to the login. Where it takes GET it takes HEAD."""

    def __init__(self, path: str, endpoint: Callable[..., Any], **options: Any) -> None:
        super().__init__(path, endpoint, **options)
        if self.methods is not None and "GET" in self.methods:
            self.methods.add("HEAD")

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        handle = super().get_route_handler()

        async def handle_page(request: Request) -> Response:
            # Before anything is read: what changes from now on is told by `/events`.
            request.state.mark = request.app.state.services.changes.mark
            answer = await answer_person(request)
            if request.method == "HEAD":
                # With the length that it would have.
                answer.body = b""
            return answer

        async def answer_person(request: Request) -> Response:
            try:
                return await handle(request)
            except Unauthorized:
                return _to_login(request)
            except RequestValidationError as error:
                return await run_in_threadpool(_refuse, request, error)
            except Exception as error:
                if not is_known(error):
                    raise
                known = as_api_error(error)
                return await run_in_threadpool(
                    error_page, request, known.status, known.detail, known.headers
                )

        return handle_page


def _refuse(request: Request, error: RequestValidationError) -> Response:
    if any(one["loc"][0] == "path" for one in error.errors()):
        detail = f"there is nothing at {request.url.path}"
        return error_page(request, HTTPStatus.NOT_FOUND, detail)
    detail = f"the parameter {summarize(describe_parameters(error))}"
    return error_page(request, HTTPStatus.UNPROCESSABLE_ENTITY, detail)


def _to_login(request: Request) -> Response:
    if request.headers.get("Sec-Fetch-Site") == "cross-site" and not _has_cookie(request):
        # A link on another site comes without the cookie (SameSite=Strict); the page's own request has it.
        return render(request, "again.html", None, address=_place(str(request.url)))
    target = _place(request.headers.get("HX-Current-URL") or str(request.url))
    had_session = _has_cookie(request)
    address = f"/login?next={quote(target, safe='')}{'&ended=true' if had_session else ''}"
    if is_fragment(request):
        # A redirect would be followed for the part that is replaced only.
        response = Response(status_code=HTTPStatus.UNAUTHORIZED, headers={"HX-Redirect": address})
    else:
        response = RedirectResponse(address, HTTPStatus.SEE_OTHER)
    if had_session:
        clear_session(request, response)
    return response


def _has_cookie(request: Request) -> bool:
    return cookie_name(request) in request.cookies


def _place(url: str) -> str:
    """Path and query of an address."""
    parts = urlsplit(url)
    return parts.path + (f"?{parts.query}" if parts.query else "")


def error_page(
    request: Request, status: HTTPStatus, detail: str, headers: Mapping[str, str] | None = None
) -> Response:
    page = render(
        request,
        "error.html",
        # Whoever asks too often gets no statement for it.
        None
        if status >= HTTPStatus.INTERNAL_SERVER_ERROR or status == HTTPStatus.TOO_MANY_REQUESTS
        else _find_user(request),
        status=status,
        title=status.phrase,
        detail=detail,
        # What was sent by a form is not sent again by a link.
        may_try_again=(
            status >= HTTPStatus.INTERNAL_SERVER_ERROR or status == HTTPStatus.TOO_MANY_REQUESTS
        )
        and request.method in ("GET", "HEAD"),
    )
    page.headers.update(headers or {})
    return page


def _find_user(request: Request) -> User | None:
    """Who is logged in, whatever else is wrong with the request."""
    secret = request.cookies.get(cookie_name(request))
    if not secret:
        return None
    try:
        with request.app.state.services.readers() as session:
            caller = authenticate(session, secret)
            return caller.user if caller else None
    except SQLAlchemyError:
        return None


@dataclass(frozen=True, slots=True)
class Mistake:
    """What is wrong in a field of a form; `pointer`: the line that was typed, with a caret where it goes wrong."""

    parameter: str
    message: str
    pointer: str
    position: int | None


def describe_mistake(error: BadParameter | BadQuery) -> Mistake:
    [problem] = as_api_error(error).errors
    message, _, pointer = problem.detail.partition("\n")
    return Mistake(problem.parameter or "", message, pointer, problem.position)


def is_fragment(request: Request) -> bool:
    """Whether htmx asks, which takes the changing part only."""
    return request.headers.get("HX-Request") == "true" and not request.headers.get("HX-Boosted")


def render(
    request: Request,
    template: str,
    user: User | None,
    *,
    status: int = HTTPStatus.OK,
    **context: Any,
) -> HTMLResponse:
    """The page for this user, or the part of it that changes."""
    secret = (
        read_session(request) if request.method in ("GET", "HEAD") and user is not None else None
    )
    text = (
        environment()
        .get_template(template)
        .render(
            **context,
            user=user,
            csrf=csrf_token(secret) if secret else "",
            has_pages=user is not None or template == "error.html",
            pages=_pages(user).items(),
            mark=getattr(request.state, "mark", ""),
            path=request.url.path,
            here=str(request.url.path) + (f"?{request.url.query}" if request.url.query else ""),
            is_fragment=is_fragment(request),
        )
    )
    return HTMLResponse(text, status, headers=_HEADERS)


def render_part(template: str, **context: Any) -> Markup:
    """Of a page, what is the same for everybody."""
    return Markup(environment().get_template(template).render(**context))  # noqa: S704


def _pages(user: User | None) -> Mapping[str, str]:
    if user is None:
        return PAGES
    return {**PAGES, "/admin": "Admin" if user.role == "admin" else "Account"}


@cache
def environment() -> jinja2.Environment:
    made = jinja2.Environment(
        loader=jinja2.FileSystemLoader(FOLDER / "templates"),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=jinja2.StrictUndefined,
    )
    made.filters |= {
        "time": write_time,
        "duration": duration,
        "value": _value,
        "size": describe_bytes,
        "code": write_code,
    }
    made.globals["confidence"] = CONFIDENCE
    made.globals["to_json"] = lambda value: json.dumps(value, separators=(",", ":"))
    return made


def write_time(at: datetime | None) -> Markup:
    """When it was, which the page's script writes in the reader's zone and words."""
    if at is None:
        return Markup("–")
    exact = at.astimezone(UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
    return Markup('<time datetime="{}" title="{}">{}</time>').format(
        at.astimezone(UTC).isoformat(timespec="seconds"), exact, exact[:16]
    )


def write_code(text: str) -> Markup:
    """What stands between backticks as code."""
    return Markup(re.sub(r"`([^`]+)`", r"<code>\1</code>", str(escape(text))))  # noqa: S704


def duration(seconds: float | None) -> str:
    return "–" if seconds is None else describe_duration(seconds)


def _value(value: float | None, metric: str) -> str:
    return "–" if value is None else amount(value, metric)


def options(values: Mapping[str, str | None]) -> str:
    """The query of an address, without what isn't set."""
    return "&".join(f"{name}={quote(value, safe='')}" for name, value in values.items() if value)
