"""The browser's way in: a session cookie in place of the token's header, and the CSRF token that goes with it.

A session is a token of its own (`store.accounts.users`), made with the one that somebody logged in with: it is revoked
with that one, listed beside it, and expires no later.
"""

import hashlib
import hmac
from datetime import timedelta

from fastapi import Request
from fastapi.responses import Response

from api.http.errors import Forbidden

#: What the token of a session is called.
SESSION_NAME = "browser session"
SESSION_LENGTH = timedelta(days=7)
CSRF_HEADER = "X-CSRF-Token"
_UNCHANGING = ("GET", "HEAD", "OPTIONS")


def cookie_name(request: Request) -> str:
    """Cookies don't tell ports apart, and two services may run on one host."""
    return f"normlab_session_{request.url.port or request.url.scheme}"


def read_session(request: Request) -> str | None:
    """The session's secret; raises `Forbidden` for a change that doesn't come from our page."""
    secret = request.cookies.get(cookie_name(request))
    if not secret:
        return None
    if request.method not in _UNCHANGING:
        sent = request.headers.get(CSRF_HEADER, "")
        if not hmac.compare_digest(sent.encode(), csrf_token(secret).encode()):
            raise Forbidden(
                f"a change by a browser's session needs the page's {CSRF_HEADER}: load the page again"
            )
    return secret


def csrf_token(secret: str) -> str:
    """Known to pages of the session only: the cookie itself can't be read by any script."""
    return hmac.digest(secret.encode(), b"csrf", hashlib.sha256).hex()


def ensure_same_site(request: Request) -> None:
    """For a login, before which there is no session; raises `Forbidden` when another site's page sends it."""
    if request.headers.get("Sec-Fetch-Site", "same-origin") not in ("same-origin", "none"):
        raise Forbidden("log in on Normlab's own page")


def set_session(request: Request, response: Response, secret: str) -> None:
    response.set_cookie(
        cookie_name(request),
        secret,
        max_age=int(SESSION_LENGTH.total_seconds()),
        httponly=True,
        secure=request.url.scheme == "https",
        samesite="strict",
    )


def clear_session(request: Request, response: Response) -> None:
    response.delete_cookie(
        cookie_name(request),
        httponly=True,
        secure=request.url.scheme == "https",
        samesite="strict",
    )
