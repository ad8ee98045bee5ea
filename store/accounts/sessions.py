"""Browser sessions: opened with a token, and valid while that token is, but no longer than `LENGTH`, or `PROVIDER_LENGTH`
for who has logged in at an identity provider.

Their secrets are none of a token: they count as no token of a person, and are accepted from a browser's cookie only.
"""

import secrets
from datetime import datetime, timedelta

from sqlalchemy import Select, delete, func, select
from sqlalchemy.orm import Session

from store.access import EVERYTHING, members
from store.accounts import authentication
from store.db import BrowserSession, Token, User, database_now

PREFIX = "ns_"
#: Of the cookie's name, in a browser; what follows tells two services on one host apart.
COOKIE_PREFIX = "normlab_session_"
LENGTH = timedelta(days=7)
#: Whoever can't log in at the provider any more is out of all browsers by then; to log in there again is one click.
PROVIDER_LENGTH = timedelta(days=1)
#: Of one person; those that were opened first end.
MOST = 50


def open_session(
    session: Session, token: Token, length: timedelta = LENGTH
) -> tuple[str, datetime]:
    """The new session's secret, and when it ends."""
    now = database_now(session)
    ends = min(now + length, token.expires_at or now + length)
    secret = PREFIX + secrets.token_urlsafe(32)
    _delete_superfluous(session, token.user_id)
    session.add(
        BrowserSession(token_id=token.id, hash=authentication.hash_secret(secret), expires_at=ends)
    )
    session.flush()
    return secret, ends


def close_session(session: Session, secret: str) -> None:
    """Harmless for one that doesn't exist."""
    session.execute(
        delete(BrowserSession).where(BrowserSession.hash == authentication.hash_secret(secret))
    )


def authenticate(session: Session, secret: str) -> authentication.Caller | None:
    """Whose session this is; None of one that has ended."""
    query = _current(secret).with_only_columns(
        User, Token.id, Token.scope, members.private_roles(), maintain_column_froms=True
    )
    row = session.execute(query).one_or_none()
    return None if row is None else authentication.Caller.of(*row)


def find_token(session: Session, secret: str) -> Token | None:
    """The token that a session was opened with, which cannot be revoked before the transaction ends."""
    query = _current(secret).with_for_update(of=Token)
    return session.scalars(query).one_or_none()


def find_token_id(session: Session, secret: str) -> int | None:
    """Of the token that a session was opened with."""
    query = _current(secret).with_only_columns(Token.id, maintain_column_froms=True)
    return session.scalars(query).one_or_none()


def _current(secret: str) -> Select[Token]:
    return (
        select(Token)
        .join(BrowserSession, BrowserSession.token_id == Token.id)
        .join(User, User.id == Token.user_id)
        .where(
            BrowserSession.hash == authentication.hash_secret(secret),
            BrowserSession.expires_at > func.clock_timestamp(),
            authentication.is_valid(),
            User.disabled_at.is_(None),
        )
        .execution_options(**{EVERYTHING: True})
    )


def _delete_superfluous(session: Session, user_id: int) -> None:
    own = select(BrowserSession.id).join(Token).where(Token.user_id == user_id)
    ended = own.where(BrowserSession.expires_at <= func.clock_timestamp())
    session.execute(delete(BrowserSession).where(BrowserSession.id.in_(ended)))
    beyond = own.order_by(BrowserSession.id.desc()).offset(MOST - 1)
    session.execute(delete(BrowserSession).where(BrowserSession.id.in_(beyond)))
