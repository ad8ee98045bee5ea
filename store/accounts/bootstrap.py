"""The first rows of a new database (datasets, an admin), and how an operator regains admin access."""

import re
from collections.abc import Iterator

from sqlalchemy import inspect, select
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session

from store.accounts import authentication, users
from store.catalog import datasets
from store.db import BadSecret, Token, User, database_now, make_engine, make_sessions

ADMIN = "admin"
SHORTEST_SECRET = 32


def ensure_strong(secret: str) -> None:
    """Raises BadSecret for one that could be guessed, or that no HTTP header can carry."""
    if len(secret) < SHORTEST_SECRET:
        raise BadSecret(
            f"it has {len(secret)} characters and needs at least {SHORTEST_SECRET}: "
            "`openssl rand -hex 24` makes one"
        )
    if not re.fullmatch(r"[!-~]+", secret):
        raise BadSecret(
            "it may contain only ASCII letters, digits and punctuation, and no spaces: "
            "`openssl rand -hex 24` makes one"
        )


def has_users(url: str) -> bool:
    """Whether the database, of whatever version, ever had a user."""
    engine = make_engine(url)
    try:
        with engine.connect() as connection:
            if not inspect(connection).has_table(User.__tablename__):
                return False
            return connection.scalar(select(User.id).limit(1)) is not None
    finally:
        engine.dispose()


def bootstrap(url: str, secret: str | None) -> bool:
    """The built-in datasets; and in a database that never had a user the first admin, if there is a secret.

    Returns whether the admin was made. Raises BadSecret before anything is written.
    """
    if secret:
        ensure_strong(secret)
    engine = make_engine(url)
    try:
        with make_sessions(engine).begin() as session:
            datasets.seed_built_in(session)
            return bool(secret) and bootstrap_admin(session, ADMIN, secret or "") is not None
    finally:
        engine.dispose()


def bootstrap_admin(session: Session, name: str, secret: str) -> User | None:
    """The first admin with this token; None, and nothing is changed, if there has ever been a user.

    Users are never deleted: a disabled user and a revoked token stay so.
    """
    if session.scalars(select(User.id).limit(1)).first() is not None:
        return None
    statement = insert(User).values(name=name, role="admin")
    statement = statement.on_conflict_do_nothing(index_elements=[User.name])
    user = session.scalars(statement.returning(User)).one_or_none()
    # None: another process has just made the admin.
    if user is not None:
        session.add(Token(user=user, name="bootstrap", hash=authentication.hash_secret(secret)))
        session.flush()
    return user


def reset_admin(url: str, secret: str) -> list[str]:
    """Makes sure that the user `admin` exists, is enabled, is an admin and has this token; returns what it changed.

    Raises BadSecret, and changes nothing, if the secret is weak, was revoked, or is another user's.
    """
    ensure_strong(secret)
    engine = make_engine(url)
    try:
        with make_sessions(engine).begin() as session:
            return list(_reset(session, secret))
    finally:
        engine.dispose()


def _reset(session: Session, secret: str) -> Iterator[str]:
    user = users.find(session, ADMIN)
    if user is None:
        user = users.create_user(session, ADMIN, "admin")
        yield f"created the user {ADMIN}"
    yield from _restore_user(session, user)
    yield from _restore_token(session, user, secret)


def _restore_user(session: Session, user: User) -> Iterator[str]:
    if user.disabled_at is not None:
        yield f"{user.name} had been disabled since {user.disabled_at.isoformat()}, and is enabled again"
        users.enable_user(session, user)
    if user.role != "admin":
        yield f"{user.name} was a {user.role}, and is an admin again"
        users.set_role(session, user, "admin")


def _restore_token(session: Session, user: User, secret: str) -> Iterator[str]:
    token = session.scalars(
        select(Token).where(Token.hash == authentication.hash_secret(secret))
    ).one_or_none()
    if token is None:
        session.add(Token(user=user, name="reset-admin", hash=authentication.hash_secret(secret)))
        yield f"{user.name} has a new token, reset-admin; the other tokens are unchanged"
        return
    if token.user_id != user.id:
        raise BadSecret(f"it is the token of another user (token {token.id}): choose a new secret")
    if token.revoked_at is not None:
        raise BadSecret(
            f"it was revoked on {token.revoked_at.isoformat()} (token {token.id}), and a revoked "
            "token is never valid again: choose a new secret"
        )
    if token.expires_at is not None and token.expires_at <= database_now(session):
        raise BadSecret(
            f"it expired on {token.expires_at.isoformat()} (token {token.id}): choose a new secret"
        )
    yield f"{user.name} had this token already (token {token.id}, {token.name}), and it is valid"
