"""People and their tokens. A secret is shown once; only its hash is kept."""

import hashlib
import secrets
from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Literal

from sqlalchemy import func, or_, select, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session, joinedload

from store.engine import database_now
from store.errors import NameTaken, NotFound
from store.models import Token, User

Role = Literal["admin", "member", "viewer"]

PREFIX = "nl_"
USE_NOTED_SECONDS = 60


def bootstrap_admin(session: Session, name: str, token: str) -> User:
    """An admin of this name, with this token; harmless when both exist."""
    statement = insert(User).values(name=name, role="admin")
    session.execute(statement.on_conflict_do_nothing(index_elements=[User.name]))
    user = session.scalars(select(User).where(User.name == name)).one()
    user.role, user.disabled_at = "admin", None
    made = insert(Token).values(user_id=user.id, name="bootstrap", hash=_hash(token))
    again = {"revoked_at": None, "expires_at": None, "user_id": user.id}
    session.execute(made.on_conflict_do_update(index_elements=[Token.hash], set_=again))
    session.flush()
    return user


def create_user(session: Session, name: str, role: Role) -> User:
    """Raises NameTaken."""
    statement = insert(User).values(name=name, role=role)
    made = statement.on_conflict_do_nothing(index_elements=[User.name]).returning(User)
    user = session.scalars(made).one_or_none()
    if user is None:
        raise NameTaken(f"there is already a user named {name}")
    return user


def create_token(
    session: Session, user: User, name: str, expires_at: datetime | None = None
) -> tuple[Token, str]:
    """A new token and its secret, which can't be had again."""
    secret = PREFIX + secrets.token_urlsafe(32)
    owner = session.get_one(User, user.id)
    token = Token(user=owner, name=name, hash=_hash(secret), expires_at=expires_at)
    session.add(token)
    session.flush()
    return token, secret


def authenticate(session: Session, secret: str) -> User | None:
    """Whose secret it is; None if it is nobody's, revoked, expired, or of a disabled user."""
    now = func.clock_timestamp()
    valid = (
        Token.hash == _hash(secret),
        Token.revoked_at.is_(None),
        or_(Token.expires_at.is_(None), Token.expires_at > now),
        User.disabled_at.is_(None),
    )
    row = session.execute(select(User, Token.id).join(Token).where(*valid)).one_or_none()
    if row is None:
        return None
    user, token_id = row
    # Not at every request: a note of use is a write, and all requests of a token would queue for it.
    stale = Token.last_used_at < now - timedelta(seconds=USE_NOTED_SECONDS)
    session.execute(
        update(Token)
        .where(Token.id == token_id, or_(Token.last_used_at.is_(None), stale))
        .values(last_used_at=now)
    )
    return user


def find(session: Session, name: str) -> User | None:
    return session.scalars(select(User).where(User.name == name)).one_or_none()


def list_users(session: Session) -> Sequence[User]:
    """All, by name."""
    return session.scalars(select(User).order_by(User.name)).all()


def list_tokens(session: Session, user: User | None = None) -> Sequence[Token]:
    """All tokens that aren't revoked (of one user, if given) with their users, newest first."""
    statement = select(Token).options(joinedload(Token.user)).where(Token.revoked_at.is_(None))
    if user is not None:
        statement = statement.where(Token.user_id == user.id)
    return session.scalars(statement.order_by(Token.id.desc())).all()


def find_token(session: Session, token_id: int) -> Token | None:
    """The token with its user."""
    statement = select(Token).options(joinedload(Token.user)).where(Token.id == token_id)
    return session.scalars(statement).one_or_none()


def revoke_token(session: Session, token_id: int) -> None:
    """It opens nothing any more; the time of the first revocation stands. Raises NotFound."""
    token = find_token(session, token_id)
    if token is None:
        raise NotFound(f"there is no token {token_id}")
    if token.revoked_at is None:
        token.revoked_at = database_now(session)
        session.flush()


def set_role(session: Session, user: User, role: Role) -> None:
    """From the next request on."""
    session.get_one(User, user.id).role = role
    session.flush()


def disable_user(session: Session, user: User) -> None:
    """None of the user's tokens opens anything any more; what is theirs stays."""
    found = session.get_one(User, user.id)
    if found.disabled_at is None:
        found.disabled_at = database_now(session)
        session.flush()


def enable_user(session: Session, user: User) -> None:
    """Undo `disable_user`."""
    session.get_one(User, user.id).disabled_at = None
    session.flush()


def _hash(secret: str) -> str:
    # 256 random bits: neither salt nor a slow hash would make guessing harder.
    return hashlib.sha256(secret.encode()).hexdigest()
