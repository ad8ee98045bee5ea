"""Log in with a token, log out: a session, in a cookie that no script can read."""

from datetime import datetime
from typing import Annotated
from urllib.parse import parse_qs

from fastapi import APIRouter, Query, Request, status
from fastapi.responses import RedirectResponse, Response
from starlette.concurrency import run_in_threadpool

from api.http import (
    TooLarge,
    clear_session,
    cookie_name,
    ensure_same_site,
    read_session,
    set_session,
)
from api.services import Services, ServicesDep
from api.web.render import PageRoute, render
from store.accounts import audit, sessions, users

router = APIRouter(include_in_schema=False, route_class=PageRoute)

Next = Annotated[str, Query(max_length=2000)]
_LONGEST_FORM = 10_000


@router.get("/login")
def show_login(request: Request, next: Next = "/", ended: bool = False) -> Response:
    problem = "Your session has ended, or its token was revoked. Log in again." if ended else ""
    return render(request, "login.html", None, next=_own_address(next), problem=problem)


@router.post("/login")
async def log_in(request: Request, services: ServicesDep) -> Response:
    ensure_same_site(request)
    form = parse_qs((await _read_form(request)).decode("utf-8", "replace"))
    token, target = (form.get(name, [""])[0].strip() for name in ("token", "next"))
    before = request.cookies.get(cookie_name(request))
    opened = await run_in_threadpool(_open_session, services, token, before)
    if opened is None:
        problem = "This token is unknown, expired or revoked." if token else "Enter a token."
        return render(
            request,
            "login.html",
            None,
            status=status.HTTP_401_UNAUTHORIZED,
            next=_own_address(target),
            problem=problem,
        )
    response = RedirectResponse(_own_address(target), status.HTTP_303_SEE_OTHER)
    set_session(request, response, *opened)
    return response


@router.post("/logout")
def log_out(request: Request, services: ServicesDep) -> Response:
    """Also of a session that has ended already."""
    secret = read_session(request)
    if secret is not None:
        with services.sessions.begin() as session:
            sessions.close_session(session, secret)
    response = Response(status_code=status.HTTP_204_NO_CONTENT)
    clear_session(request, response)
    return response


async def _read_form(request: Request) -> bytes:
    """Refused as soon as it is too long."""
    form = bytearray()
    async for chunk in request.stream():
        form += chunk
        if len(form) > _LONGEST_FORM:
            raise TooLarge(f"a login has at most {_LONGEST_FORM} bytes")
    return bytes(form)


def _open_session(
    services: Services, token: str, before: str | None
) -> tuple[str, datetime] | None:
    """Secret and end of a new session, in place of the one before; None for a token that isn't valid."""
    with services.sessions.begin() as session:
        caller = users.authenticate(session, token) if token else None
        parent = users.lock_token(session, token) if caller else None
        if caller is None or parent is None:
            return None
        if before:
            sessions.close_session(session, before)
        audit.record(session, caller, "session.opened", caller.user.name, {})
        return sessions.open_session(session, parent)


def _own_address(target: str) -> str:
    """A place of ours, whatever the address says: `//elsewhere` is another site's."""
    is_ours = target.startswith("/") and not target.startswith(("//", "/\\"))
    return target if is_ours and target.isprintable() else "/"
