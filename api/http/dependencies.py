"""Dependencies of endpoints: the user, their permissions, the requested page."""

from dataclasses import dataclass
from typing import Annotated, Any, TypeAlias

from fastapi import Depends, Path, Query, Request
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer
from sqlalchemy.orm import Session

from api.http.errors import Forbidden, Unauthorized
from api.http.sessions import read_session
from api.services import ServicesDep
from store.accounts import audit, sessions, users
from store.db import Token, User

# Dependencies that only compare values are async: FastAPI runs the others in a thread each, and to hand a request
# from thread to thread costs more than they do.
_bearer = HTTPBearer(auto_error=False, description="as printed by `normlab token create`")
_Credentials = Annotated[HTTPAuthorizationCredentials | None, Depends(_bearer)]


async def get_secret(request: Request, credentials: _Credentials) -> str:
    """Of the header, else of the browser's session."""
    if credentials is not None:
        # What a cookie holds is sent by a browser, to us: nobody else has a use for it.
        if credentials.credentials.startswith(sessions.PREFIX):
            raise _refused()
        return credentials.credentials
    if (session := read_session(request)) is not None:
        return session
    raise Unauthorized("a token is required: send 'Authorization: Bearer <token>'")


Secret: TypeAlias = Annotated[str, Depends(get_secret)]


def get_caller(services: ServicesDep, secret: Secret) -> users.Caller:
    # Not held for the endpoint's own transaction, which may come only after a check. The row stays readable
    # (`expire_on_commit=False`), but belongs to no session any more.
    with services.readers() as session:
        caller = authenticate(session, secret)
    if caller is None:
        raise _refused()
    return caller


Caller: TypeAlias = Annotated[users.Caller, Depends(get_caller)]


async def get_current_user(caller: Caller) -> User:
    return caller.user


async def require_full_scope(caller: Caller) -> None:
    _refuse_reading_only(caller)


def _refuse_reading_only(caller: users.Caller) -> None:
    if caller.scope == "read":
        raise Forbidden(
            "the token of this request may only read: use one that was created without `--read-only`"
        )


def authenticate(session: Session, secret: str) -> users.Caller | None:
    """Whose token, or browser's session, this is."""
    if secret.startswith(sessions.PREFIX):
        return sessions.authenticate(session, secret)
    return users.authenticate(session, secret)


def lock_asking_token(session: Session, secret: str) -> Token:
    """The token of this request, which cannot be revoked before the transaction ends."""
    is_session = secret.startswith(sessions.PREFIX)
    token = (sessions.find_token if is_session else users.lock_token)(session, secret)
    # It was valid when the request was authenticated; it may have been revoked since.
    if token is None:
        raise _refused()
    return token


def _refused() -> Unauthorized:
    return Unauthorized("the token is unknown, expired or revoked")


async def require_writer(caller: Caller) -> User:
    user = caller.user
    _refuse_reading_only(caller)
    if user.role == "viewer":
        raise Forbidden(f"{user.name} is a viewer: only members and admins can make changes")
    return user


async def require_admin(caller: Caller) -> User:
    user = caller.user
    _refuse_reading_only(caller)
    if user.role != "admin":
        raise Forbidden(f"{user.name} is a {user.role}: only admins can do this")
    return user


Fresh: TypeAlias = Annotated[
    bool,
    Query(
        description="train every job, even those of which an equal one has succeeded; by default they get its results"
    ),
]
Reader: TypeAlias = Annotated[User, Depends(get_current_user)]
Writer: TypeAlias = Annotated[User, Depends(require_writer)]
Administrator: TypeAlias = Annotated[User, Depends(require_admin)]


@dataclass(frozen=True, slots=True)
class Trail:
    """The audit trail, for the changes of one request."""

    caller: users.Caller

    def note(self, session: Session, action: audit.Action, subject: str, **detail: Any) -> None:
        """In the transaction of the change; `detail`: values for JSON, none of them a secret."""
        audit.record(session, self.caller, action, subject, detail)


async def get_trail(caller: Caller) -> Trail:
    return Trail(caller)


AuditTrail: TypeAlias = Annotated[Trail, Depends(get_trail)]


def may_change(user: User, owner: str) -> bool:
    """Whether what this person owns is the user's to change: admins change everything, viewers nothing."""
    return user.role == "admin" or (user.role == "member" and user.name == owner)


def ensure_own(user: User, owner: User, what: str) -> None:
    """A member changes only what is theirs; raises `Forbidden`."""
    if not may_change(user, owner.name):
        raise Forbidden(f"{what} belongs to {owner.name}: only the owner or an admin can change it")


@dataclass(frozen=True, slots=True)
class PageRequest:
    """The requested page of a list."""

    limit: int
    cursor: str | None


async def get_page(
    limit: Annotated[int, Query(ge=1, le=500, description="maximum number of items")] = 50,
    cursor: Annotated[
        str | None, Query(max_length=200, description="`next_cursor` of the previous page")
    ] = None,
) -> PageRequest:
    return PageRequest(limit, cursor)


Page: TypeAlias = Annotated[PageRequest, Depends(get_page)]

#: The largest identifier that the database can hold.
Id: TypeAlias = Annotated[int, Path(ge=1, le=2**63 - 1)]
Filter: TypeAlias = Annotated[str | None, Query(max_length=200)]
Archived: TypeAlias = Annotated[bool, Query(description="include archived")]
