"""Who asks: whose a secret is, and what its token may be used for. Of a secret only the hash is stored."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta

from sqlalchemy import ColumnElement, and_, bindparam, func, not_, or_, select, update
from sqlalchemy.orm import Session

from store.access import EVERYTHING, Access, members
from store.db import Token, User

USE_NOTED_SECONDS = 60


@dataclass(frozen=True, slots=True)
class Caller:
    """Who asks, with which token, and what they may do. With one that only reads, `user` is a viewer, and belongs to no
    session."""

    user: User
    token_id: int
    scope: str
    access: Access

    @classmethod
    def of(
        cls, user: User, token_id: int, scope: str, private: Mapping[str, str | None] | None
    ) -> "Caller":
        """`private`: as `store.access.members.private_roles` has it."""
        if scope == "read":
            columns = {one.key: getattr(user, one.key) for one in User.__mapper__.column_attrs}
            user = User(**{**columns, "role": "viewer"})
        roles = {int(project_id): role for project_id, role in (private or {}).items()}
        return cls(user, token_id, scope, Access(user.id, user.role, roles))


def authenticate(session: Session, secret: str) -> Caller | None:
    """Whose secret this is; None if it is unknown, revoked, expired, or of a disabled user."""
    row = session.execute(_AUTHENTICATED, {"hash": hash_secret(secret)}).one_or_none()
    if row is None:
        return None
    user, token_id, scope, private, is_noted = row
    # Not at every request: a note of use is a write, and all requests of a token would queue for it.
    if not is_noted:
        session.execute(_USED, {"token_id": token_id})
    return Caller.of(user, token_id, scope, private)


def lock_token(session: Session, secret: str) -> Token | None:
    """The valid token of this secret, which cannot be revoked before the transaction ends."""
    query = select(Token).where(Token.hash == hash_secret(secret), is_valid())
    return session.scalars(query.with_for_update()).one_or_none()


def is_valid() -> ColumnElement[bool]:
    """Whether a token is neither revoked nor expired."""
    now = func.clock_timestamp()
    unexpired = or_(Token.expires_at.is_(None), Token.expires_at > now)
    return and_(Token.revoked_at.is_(None), unexpired)


_NOTED = and_(
    Token.last_used_at.is_not(None),
    Token.last_used_at >= func.clock_timestamp() - timedelta(seconds=USE_NOTED_SECONDS),
)
_AUTHENTICATED = (
    select(User, Token.id, Token.scope, members.private_roles(), _NOTED)
    .join(Token)
    .where(Token.hash == bindparam("hash"), is_valid(), User.disabled_at.is_(None))
    .execution_options(**{EVERYTHING: True})
)
# The condition once more: of requests that come at once, one notes it.
_USED = (
    update(Token)
    .where(Token.id == bindparam("token_id"), not_(_NOTED))
    .values(last_used_at=func.clock_timestamp())
    .execution_options(**{EVERYTHING: True})
)


def hash_secret(secret: str) -> str:
    # 256 random bits: neither salt nor a slow hash would make guessing harder.
    return hashlib.sha256(secret.encode()).hexdigest()
