"""Log in with a token, log out: the session is a token of its own, in a cookie that no script can read."""

from datetime import UTC, datetime
from typing import Annotated
from urllib.parse import parse_qs

from fastapi import APIRouter, Query, Request, status
from fastapi.responses import RedirectResponse, Response

from api.http import (
    SESSION_LENGTH,
    SESSION_NAME,
    Secret,
    clear_session,
    ensure_same_site,
    set_session,
)
from api.services import Services, ServicesDep
from api.web.render import PageRoute, render
from store.accounts import users

router = APIRouter(include_in_schema=False, route_class=PageRoute)

Next = Annotated[str, Query(max_length=2000)]
_LONGEST_FORM = 10_000


@router.get("/login")
def show_login(request: Request, next: Next = "/") -> Response:
    return render(request, "login.html", None, next=_own_address(next), problem="")


@router.post("/login")
async def log_in(request: Request, services: ServicesDep) -> Response:
    ensure_same_site(request)
    form = parse_qs((await request.body())[:_LONGEST_FORM].decode("utf-8", "replace"))
    token, target = (form.get(name, [""])[0].strip() for name in ("token", "next"))
    secret = _open_session(services, token)
    if secret is None:
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
    set_session(request, response, secret)
    return response


@router.post("/logout")
def log_out(request: Request, services: ServicesDep, secret: Secret) -> Response:
    with services.sessions.begin() as session:
        token = users.lock_token(session, secret)
        if token is not None and token.name == SESSION_NAME:
            users.revoke_token(session, token.id)
    response = Response(status_code=status.HTTP_204_NO_CONTENT)
    clear_session(request, response)
    return response


def _open_session(services: Services, token: str) -> str | None:
    """The secret of a new session; None for a token that isn't valid."""
    with services.sessions.begin() as session:
        user = users.authenticate(session, token) if token else None
        parent = users.lock_token(session, token) if user else None
        if user is None or parent is None:
            return None
        end = datetime.now(UTC) + SESSION_LENGTH
        if parent.expires_at is not None:
            end = min(end, parent.expires_at)
        _, secret = users.create_token(session, user, SESSION_NAME, end, parent=parent)
        return secret


def _own_address(target: str) -> str:
    """A place of ours, whatever the address says: `//elsewhere` is another site's."""
    is_ours = target.startswith("/") and not target.startswith(("//", "/\\"))
    return target if is_ours and target.isprintable() else "/"
