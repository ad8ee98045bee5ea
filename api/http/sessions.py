"""The browser's way in: a session cookie in place of the token's header, and the CSRF token that goes with it."""

import hashlib
import hmac
from datetime import UTC, datetime
from urllib.parse import urlsplit

from fastapi import Request
from fastapi.responses import Response

from api.http.errors import Forbidden
from store.accounts import sessions

CSRF_HEADER = "X-CSRF-Token"
_UNCHANGING = ("GET", "HEAD", "OPTIONS")


def cookie_name(request: Request) -> str:
    """Cookies don't tell ports apart, and two services may run on one host."""
    return f"{sessions.COOKIE_PREFIX}{request.url.port or request.url.scheme}"


def read_session(request: Request) -> str | None:
    """The session's secret; raises `Forbidden` for a change that doesn't come from our page."""
    secret = request.cookies.get(cookie_name(request))
    if not secret:
        return None
    if request.method not in _UNCHANGING:
        sent = request.headers.get(CSRF_HEADER, "")
        if not hmac.compare_digest(sent.encode(), csrf_token(secret).encode()):
            raise Forbidden(
                f"a change by a browser's session needs the page's {CSRF_HEADER}: reload the page"
            )
    return secret


def csrf_token(secret: str) -> str:
    """Known to pages of the session only: the cookie itself can't be read by any script."""
    return hmac.digest(secret.encode(), b"csrf", hashlib.sha256).hex()


def ensure_same_site(request: Request) -> None:
    """For a login, before which there is no session; raises `Forbidden` when another site's page sends it."""
    origin = request.headers.get("Origin")
    is_foreign = origin is not None and urlsplit(origin).netloc != request.headers.get("Host")
    # Browsers tell the second only to servers that they reach over TLS, or on their own machine.
    if is_foreign or request.headers.get("Sec-Fetch-Site", "none") not in ("same-origin", "none"):
        raise Forbidden("log in on Normlab's own page")


def set_session(request: Request, response: Response, secret: str, ends: datetime) -> None:
    response.set_cookie(
        cookie_name(request),
        secret,
        max_age=max(0, int((ends - datetime.now(UTC)).total_seconds())),
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
