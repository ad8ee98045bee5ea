"""Log in with a token or at an identity provider, log out: a session, in a cookie that no script can read."""

from datetime import datetime
from typing import Annotated
from urllib.parse import parse_qs

import structlog
from fastapi import APIRouter, Query, Request, status
from fastapi.responses import RedirectResponse, Response
from starlette.concurrency import run_in_threadpool

from api.http import (
    NotFound,
    TooLarge,
    clear_session,
    cookie_name,
    ensure_same_site,
    read_session,
    refuse_haste,
    set_session,
)
from api.openid import MINUTES, PATH, Flow, NotAdmitted, ProviderAway
from api.services import Services, ServicesDep
from api.web.render import PageRoute, render
from store.accounts import audit, authentication, identities, sessions
from store.db import LoginRefused

log = structlog.get_logger(__name__)

router = APIRouter(include_in_schema=False, route_class=PageRoute)

Next = Annotated[str, Query(max_length=2000)]
_LONGEST_FORM = 10_000


@router.get("/login")
def show_login(
    request: Request, services: ServicesDep, next: Next = "/", ended: bool = False
) -> Response:
    problem = "Your session has ended, or its token was revoked. Log in again." if ended else ""
    return _ask(request, services, next, problem)


@router.post("/login")
async def log_in(request: Request, services: ServicesDep) -> Response:
    ensure_same_site(request)
    form = parse_qs((await _read_form(request)).decode("utf-8", "replace"))
    token, target = (form.get(name, [""])[0].strip() for name in ("token", "next"))
    # Each login that succeeds leaves a line in the audit trail.
    refuse_haste(services.rates.spend(token))
    before = request.cookies.get(cookie_name(request))
    opened = await run_in_threadpool(_open_session, services, token, before)
    if opened is None:
        problem = "This token is unknown, expired or revoked." if token else "Enter a token."
        return _ask(request, services, target, problem, status.HTTP_401_UNAUTHORIZED)
    response = RedirectResponse(_own_address(target), status.HTTP_303_SEE_OTHER)
    set_session(request, response, *opened)
    return response


@router.get(PATH)
def begin_login(request: Request, services: ServicesDep, next: Next = "/") -> Response:
    """At the identity provider, which sends the browser back to `finish_login`."""
    try:
        begun = _find_provider(services).begin(_own_address(next))
    except ProviderAway as error:
        return _ask(request, services, next, str(error), status.HTTP_503_SERVICE_UNAVAILABLE)
    response = RedirectResponse(begun.url, status.HTTP_303_SEE_OTHER)
    # Not Strict: the browser comes back from another site.
    response.set_cookie(
        _begun_name(request),
        begun.cookie,
        max_age=60 * MINUTES,
        path=PATH,
        httponly=True,
        secure=request.url.scheme == "https",
        samesite="lax",
    )
    return response


@router.get(f"{PATH}/callback")
def finish_login(request: Request, services: ServicesDep) -> Response:
    provider = _find_provider(services)
    try:
        person, target = provider.finish(
            request.cookies.get(_begun_name(request)), request.query_params
        )
        opened = _admit(services, person, request.cookies.get(cookie_name(request)))
    except ProviderAway as error:
        answer = _ask(request, services, "/", str(error), status.HTTP_503_SERVICE_UNAVAILABLE)
    except (NotAdmitted, LoginRefused) as error:
        log.info("a login was refused", provider=provider.name, reason=str(error))
        answer = _ask(request, services, "/", str(error), status.HTTP_403_FORBIDDEN)
    else:
        # No redirect: it would be the provider's, and come without the session's cookie (SameSite=Strict).
        answer = render(request, "again.html", None, address=_own_address(target))
        set_session(request, answer, *opened)
    answer.delete_cookie(_begun_name(request), path=PATH)
    return answer


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
        caller = authentication.authenticate(session, token) if token else None
        if caller is not None:
            refuse_haste(services.rates.recognize(token, caller.token_id))
        parent = authentication.lock_token(session, token) if caller else None
        if caller is None or parent is None:
            return None
        if before:
            sessions.close_session(session, before)
        audit.record(session, caller, "session.opened", caller.user.name, {})
        return sessions.open_session(session, parent)


def _admit(
    services: Services, person: identities.Person, before: str | None
) -> tuple[str, datetime]:
    """Secret and end of a new session, in place of the one before. Raises LoginRefused, and TooMany."""
    settings = services.settings
    role = None if settings.oidc_newcomers == "none" else settings.oidc_newcomers
    admission = identities.Admission(role, links=settings.oidc_link_existing)
    with services.sessions.begin() as session:
        user, token = identities.log_in(session, person, admission)
        # Each login leaves a line in the audit trail, as those with a token.
        key = f"logins of token {token.id}"
        refuse_haste(services.rates.spend(key) or services.rates.recognize(key, token.id))
        caller = authentication.Caller.of(user, token.id, token.scope, {})
        # The cookie is missing (SameSite=Strict) when the provider belongs to another site.
        if before:
            sessions.close_session(session, before)
        audit.record(session, caller, "session.opened", user.name, {"provider": person.issuer})
        return sessions.open_session(session, token, sessions.PROVIDER_LENGTH)


def _find_provider(services: Services) -> Flow:
    if services.provider is None:
        raise NotFound(
            "no identity provider is configured: an administrator can set one with NORMLAB_OIDC_ISSUER"
        )
    return services.provider


def _begun_name(request: Request) -> str:
    """Of the cookie of a login that goes on at the provider; as `cookie_name`."""
    return f"normlab_login_{request.url.port or request.url.scheme}"


def _ask(
    request: Request, services: Services, target: str, problem: str, status: int = 200
) -> Response:
    """The page to log in on, which leads to `target`."""
    target = _own_address(target)
    provider = services.provider
    return render(
        request,
        "login.html",
        None,
        status=status,
        next=target,
        problem=problem,
        provider=provider and {"name": provider.name, "url": provider.login_url(target)},
    )


def _own_address(target: str) -> str:
    """A place of ours, whatever the address says: `//elsewhere` is another site's."""
    is_ours = target.startswith("/") and not target.startswith(("//", "/\\"))
    return target if is_ours and target.isprintable() else "/"
