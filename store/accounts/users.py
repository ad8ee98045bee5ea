"""Users and their tokens. A secret is shown once; only its hash is stored.

A token is created with another one, its parent, and expires no later. Revoking the parent revokes it too, unless
`children` says otherwise.
"""

import secrets
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime
from typing import Literal, TypeAlias

from sqlalchemy import (
    Select,
    delete,
    func,
    select,
)
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session, aliased, joinedload

from store.accounts.authentication import hash_secret, is_valid
from store.db import (
    LastAdmin,
    NameTaken,
    NotFound,
    OutlivesParent,
    ProviderIdentity,
    Token,
    TooManyTokens,
    User,
    Webhook,
    database_now,
)

Role: TypeAlias = Literal["admin", "member", "viewer"]
#: Which tokens are revoked with the one they were made with: those of the same person, all, or none.
Children: TypeAlias = Literal["own", "all", "none"]

#: What a token may be used for: all that its user may do, or only to read, as a viewer.
Scope: TypeAlias = Literal["all", "read"]

PREFIX = "nl_"
_LAST_ADMIN = "{} is the last admin who can sign in; make another user an admin first"


def create_user(session: Session, name: str, role: Role) -> User:
    """A new user, without a token; raises NameTaken."""
    statement = insert(User).values(name=name, role=role)
    made = statement.on_conflict_do_nothing(index_elements=[User.name]).returning(User)
    user = session.scalars(made).one_or_none()
    if user is None:
        raise NameTaken(f"there is already a user named {name}")
    return user


def create_token(
    session: Session,
    user: User,
    name: str,
    expires_at: datetime | None = None,
    *,
    scope: Scope = "all",
    parent: Token | None = None,
    most: int | None = None,
) -> tuple[Token, str]:
    """A new token and its secret, which is shown only once. Without `expires_at` it expires with its parent.

    `most`: how many valid tokens the user may have. Raises OutlivesParent and TooManyTokens.
    """
    # Locked, so that two requests at once can't both take the last place.
    query = select(User).where(User.id == user.id).with_for_update(key_share=True)
    owner = session.scalars(query.execution_options(populate_existing=True)).one()
    if most is not None and (count := _count_valid_tokens(session, owner)) >= most:
        raise TooManyTokens(
            f"{owner.name} has {count} valid tokens and may have {most}: revoke one that is not "
            "needed (`normlab token list` shows when each was last used)"
        )
    expires_at = _within_parent(expires_at, parent)
    secret = PREFIX + secrets.token_urlsafe(32)
    token = Token(
        user=owner,
        name=name,
        hash=hash_secret(secret),
        scope=scope,
        expires_at=expires_at,
        parent_id=parent.id if parent else None,
    )
    session.add(token)
    session.flush()
    return token, secret


def _count_valid_tokens(session: Session, user: User) -> int:
    query = select(func.count()).select_from(Token).where(Token.user_id == user.id, is_valid())
    return session.scalars(query).one()


def _within_parent(expires_at: datetime | None, parent: Token | None) -> datetime | None:
    if parent is None or parent.expires_at is None:
        return expires_at
    if expires_at is not None and expires_at > parent.expires_at:
        raise OutlivesParent(
            f"must be no later than {parent.expires_at.isoformat()}, when the token of this request "
            f"expires, but got {expires_at.isoformat()}"
        )
    return expires_at or parent.expires_at


def find(session: Session, name: str) -> User | None:
    return session.scalars(select(User).where(User.name == name)).one_or_none()


def list_users(session: Session, limit: int | None = None) -> Sequence[User]:
    """By name; all without a limit."""
    return session.scalars(select(User).order_by(User.name).limit(limit)).all()


def list_tokens(
    session: Session, user: User | None = None, limit: int | None = None
) -> Sequence[Token]:
    """Tokens that aren't revoked (of one user, if given) with their users, newest first; all without a limit."""
    statement = select(Token).options(joinedload(Token.user)).where(Token.revoked_at.is_(None))
    if user is not None:
        statement = statement.where(Token.user_id == user.id)
    return session.scalars(statement.order_by(Token.id.desc()).limit(limit)).all()


def find_token(session: Session, token_id: int) -> Token | None:
    """The token with its user."""
    statement = select(Token).options(joinedload(Token.user)).where(Token.id == token_id)
    return session.scalars(statement).one_or_none()


def revoke_token(
    session: Session, token_id: int, children: Children = "own", refusal: str | None = None
) -> Sequence[Token]:
    """Revoke the token and those created with it, and remove their webhooks; the time of an earlier revocation is kept.

    Returns the tokens that this call has revoked. Raises NotFound, and LastAdmin, with the message `refusal`, if no
    admin could sign in.
    """
    token = find_token(session, token_id)
    if token is None:
        raise NotFound(f"there is no token {token_id}")
    tokens = _lock_with_descendants(session, token, children)
    valid = [one for one in tokens if one.revoked_at is None]
    refusal = refusal or (
        f"no admin could sign in without token {token_id}: create another token first, and keep it "
        "when you revoke this one (`children=none`)"
    )
    with _keeping_an_admin(session, refusal, any(one.user.role == "admin" for one in valid)):
        now = database_now(session)
        for one in valid:
            one.revoked_at = now
        # Who had a token that leaked may have registered a target for what is not meant for them.
        session.execute(delete(Webhook).where(Webhook.token_id.in_([one.id for one in tokens])))
    return valid


def _lock_with_descendants(session: Session, token: Token, children: Children) -> Sequence[Token]:
    """The token and those made with it, of which no more can be made before the transaction ends."""
    query = select(Token).where(Token.id.in_(_with_descendants(token, children)))
    query = query.options(joinedload(Token.user, innerjoin=True)).order_by(Token.id)
    query = query.with_for_update(of=Token).execution_options(populate_existing=True)
    locked: set[int] = set()
    while True:
        # While the statement waits for a token, that token may get a child, which only a later statement sees.
        tokens = session.scalars(query).all()
        ids = {row.id for row in tokens}
        if ids <= locked:
            return tokens
        locked |= ids


def _with_descendants(token: Token, children: Children) -> Select[int]:
    """The ids of a token and of all tokens made with it, directly or not."""
    tree = select(Token.id, Token.user_id).where(Token.id == token.id).cte(recursive=True)
    if children == "none":
        return select(tree.c.id)
    child = aliased(Token)
    below = select(child.id, child.user_id).join(tree, child.parent_id == tree.c.id)
    if children == "own":
        below = below.where(child.user_id == token.user_id)
    tree = tree.union_all(below)
    return select(tree.c.id)


def set_role(session: Session, user: User, role: Role) -> None:
    """From the next request on. Raises LastAdmin."""
    with _keeping_an_admin(session, _LAST_ADMIN.format(user.name), role != "admin"):
        session.get_one(User, user.id).role = role


def set_weight(session: Session, user: User, weight: float) -> None:
    """Of two people who both wait, who has twice the weight gets twice the share of the machines."""
    session.get_one(User, user.id).weight = weight
    session.flush()


def disable_user(session: Session, user: User) -> None:
    """The user's tokens are refused from now on; their jobs and studies stay. Raises LastAdmin."""
    with _keeping_an_admin(session, _LAST_ADMIN.format(user.name)):
        row = session.get_one(User, user.id)
        if row.disabled_at is None:
            row.disabled_at = database_now(session)


def enable_user(session: Session, user: User) -> None:
    """Undo `disable_user`."""
    session.get_one(User, user.id).disabled_at = None
    session.flush()


@contextmanager
def _keeping_an_admin(session: Session, refusal: str, at_risk: bool = True) -> Iterator[None]:
    """Raises LastAdmin if the change in its body leaves no admin.

    The rows of all admins are locked first, so that of two such changes at once the second sees what the
    first has done. Requests that only refer to these rows, such as submissions, don't wait for it.
    """
    if not at_risk:
        yield
        return
    admins = select(User.id).where(User.role == "admin", User.disabled_at.is_(None))
    session.execute(admins.order_by(User.id).with_for_update(key_share=True))
    before = _administration(session)
    yield
    session.flush()
    # Compared, not required to be 2: in a service whose admins have no valid token left (their tokens
    # expired) a role can still be changed, as long as nothing gets worse.
    if _administration(session) < before:
        raise LastAdmin(refusal)


def _administration(session: Session) -> int:
    """2 if an admin can sign in, 1 if there is an admin but no token of theirs is valid, else 0."""
    query = select(User.id).where(User.role == "admin", User.disabled_at.is_(None))
    # A token of an identity provider's logins is of no use when the provider is away.
    theirs = select(ProviderIdentity.id).where(ProviderIdentity.token_id == Token.id)
    with_token = query.join(Token).where(is_valid(), ~theirs.exists())
    if session.scalars(with_token.limit(1)).first() is not None:
        return 2
    return 1 if session.scalars(query.limit(1)).first() is not None else 0
