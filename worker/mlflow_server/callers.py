"""Whose token, or browser's session, a request to MLflow carries."""

import asyncio
import base64
import binascii
import time
from dataclasses import dataclass
from typing import Literal

from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.orm import Session, sessionmaker
from starlette.requests import cookie_parser

from store.access import members
from store.accounts import authentication
from store.accounts import sessions as browser_sessions

#: An answer of the database is good for so long: a revoked token goes on reading no longer than this.
KEPT_SECONDS = 5.0
#: Answers that are kept at most.
MOST_KEPT = 10_000
#: Cookies of a browser that may be sessions: those of other services on this host have such names, too.
_MOST_COOKIES = 5


@dataclass(frozen=True, slots=True)
class Credentials:
    """What a request was sent with; `user_name` where it names one. Of several secrets one must be valid."""

    kind: Literal["token", "session"]
    secrets: tuple[str, ...]
    user_name: str | None = None


def read_credentials(authorization: str | None, cookies: str | None) -> Credentials | None:
    """Of the header (a Bearer token, or a Basic login with a token as its password), else of the cookies."""
    if authorization:
        scheme, _, value = authorization.partition(" ")
        match scheme.lower():
            case "bearer":
                return Credentials("token", (value.strip(),))
            case "basic":
                return _read_basic(value)
        return None
    named = cookie_parser(cookies or "").items()
    found = [value for name, value in named if name.startswith(browser_sessions.COOKIE_PREFIX)]
    return Credentials("session", tuple(found[:_MOST_COOKIES])) if found else None


def _read_basic(value: str) -> Credentials | None:
    try:
        text = base64.b64decode(value, validate=True).decode()
    except (binascii.Error, ValueError):
        return None
    user_name, _, secret = text.partition(":")
    return Credentials("token", (secret,), user_name or None)


@dataclass(frozen=True, slots=True)
class Reader:
    """Who asks, and which of MLflow's experiments are hidden from them: those of private projects."""

    caller: authentication.Caller
    hidden: frozenset[str]


class Callers:
    """Asks the database with a plain digest: tokens are random, so that a slow one would protect nothing."""

    def __init__(self, sessions: sessionmaker[Session]) -> None:
        self._sessions = sessions
        self._kept: dict[tuple[str, str], _Kept] = {}

    async def find(self, credentials: Credentials) -> Reader | None:
        """None of what is unknown, expired or revoked, or of a disabled user. Raises SQLAlchemyError."""
        for secret in credentials.secrets:
            if (reader := await self._find(credentials.kind, secret)) is not None:
                return reader
        return None

    async def _find(self, kind: str, secret: str) -> Reader | None:
        key = kind, authentication.hash_secret(secret)
        kept, now = self._kept.get(key), time.monotonic()
        if kept is None or now >= kept.until:
            if len(self._kept) >= MOST_KEPT:
                self._kept.clear()
            # The task is kept, not its result: a page's requests come at once, and all wait for one answer.
            asked = asyncio.create_task(asyncio.to_thread(self._ask, kind, secret))
            kept = self._kept[key] = _Kept(asked, now + KEPT_SECONDS)
        try:
            return await asyncio.shield(kept.asked)
        except SQLAlchemyError:
            self._kept.pop(key, None)
            raise

    def _ask(self, kind: str, secret: str) -> Reader | None:
        authenticate = (
            browser_sessions.authenticate if kind == "session" else authentication.authenticate
        )
        with self._sessions.begin() as session:
            caller = authenticate(session, secret)
            if caller is None:
                return None
            if caller.access.role == "admin":
                return Reader(caller, frozenset())
            return Reader(caller, members.experiments_of(session, caller.access.hidden))


@dataclass(frozen=True, slots=True)
class _Kept:
    asked: "asyncio.Task[Reader | None]"
    until: float
