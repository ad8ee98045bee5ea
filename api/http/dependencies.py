"""Dependencies of endpoints: the user, their permissions, the requested page."""

from collections.abc import AsyncIterator, Hashable
from dataclasses import dataclass
from typing import Annotated, Any, TypeAlias

from fastapi import Depends, Path, Query, Request
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer
from sqlalchemy.orm import Session
from starlette.types import Scope

from api.http.errors import Forbidden, TooMany, Unauthorized
from api.http.sessions import read_session
from api.services import Services, ServicesDep
from store.access import current, read_as
from store.accounts import audit, authentication, sessions
from store.db import Token, User

# Dependencies that only compare values are async: FastAPI runs the others in a thread each, and to hand a request
# from thread to thread costs more than they do.
_bearer = HTTPBearer(auto_error=False, description="as printed by `normlab token create`")
_Credentials = Annotated[HTTPAuthorizationCredentials | None, Depends(_bearer)]


async def get_secret(request: Request, services: ServicesDep, credentials: _Credentials) -> str:
    """Of the header, else of the browser's session; raises TooMany, before a thread or a connection is taken."""
    secret = _read_secret(request, credentials)
    refuse_haste(services.rates.spend(secret))
    return secret


def _read_secret(request: Request, credentials: HTTPAuthorizationCredentials | None) -> str:
    if credentials is not None:
        # What a cookie holds is sent by a browser, to us: nobody else has a use for it.
        if credentials.credentials.startswith(sessions.PREFIX):
            raise _refused()
        return credentials.credentials
    if (session := read_session(request)) is not None:
        return session
    raise Unauthorized("a token is required: send 'Authorization: Bearer <token>'")


Secret: TypeAlias = Annotated[str, Depends(get_secret)]


def find_client(scope: Scope) -> Hashable:
    """Whose request it is: a valid token's or, of all others, the address it comes from. Nothing is looked up for it."""
    request = Request(scope)
    scheme, _, secret = request.headers.get("Authorization", "").partition(" ")
    if scheme.lower() == "bearer":
        secrets = [secret.strip()]
    else:
        cookies = request.cookies.items()
        secrets = [secret for name, secret in cookies if name.startswith(sessions.COOKIE_PREFIX)]
    services: Services = request.app.state.services
    for secret in secrets:
        if token := services.rates.find_token(secret):
            return token
    return request.client.host if request.client else None


def read_caller(services: ServicesDep, secret: Secret) -> authentication.Caller:
    # Not held for the endpoint's own transaction, which may come only after a check. The row stays readable
    # (`expire_on_commit=False`), but belongs to no session any more.
    with services.readers() as session:
        caller = authenticate(session, secret)
    if caller is None:
        raise _refused()
    refuse_haste(services.rates.recognize(secret, caller.token_id))
    return caller


async def get_caller(
    caller: Annotated[authentication.Caller, Depends(read_caller)],
) -> authentication.Caller:
    # Not in a thread, where it would be set for that thread's work alone.
    read_as(caller.access)
    return caller


def refuse_haste(seconds: int) -> None:
    """`seconds`: until another request may come; 0: it may."""
    if seconds:
        detail = f"too many requests with this token: send the next one in {seconds} s"
        raise TooMany(detail, seconds)


Caller: TypeAlias = Annotated[authentication.Caller, Depends(get_caller)]


async def get_current_user(caller: Caller) -> User:
    return caller.user


async def require_full_scope(caller: Caller) -> None:
    _refuse_reading_only(caller)


def _refuse_reading_only(caller: authentication.Caller) -> None:
    if caller.scope == "read":
        raise Forbidden(
            "the token of this request is read-only: use one that was created without `--read-only`"
        )


def authenticate(session: Session, secret: str) -> authentication.Caller | None:
    """Whose token, or browser's session, this is."""
    if secret.startswith(sessions.PREFIX):
        return sessions.authenticate(session, secret)
    return authentication.authenticate(session, secret)


def lock_asking_token(session: Session, secret: str) -> Token:
    """The token of this request, which cannot be revoked before the transaction ends."""
    is_session = secret.startswith(sessions.PREFIX)
    token = (sessions.find_token if is_session else authentication.lock_token)(session, secret)
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


async def take_place(services: ServicesDep, caller: Caller) -> AsyncIterator[None]:
    """For requests that compute over many jobs; held until the answer has been sent. Raises `Busy`."""
    with services.places.taken(caller.user.id):
        yield


Fresh: TypeAlias = Annotated[
    bool,
    Query(
        description="train every job; by default, a job reuses the results of an identical job that has succeeded"
    ),
]
Reader: TypeAlias = Annotated[User, Depends(get_current_user)]
Writer: TypeAlias = Annotated[User, Depends(require_writer)]
Administrator: TypeAlias = Annotated[User, Depends(require_admin)]


@dataclass(frozen=True, slots=True)
class Trail:
    """The audit trail, for the changes of one request."""

    caller: authentication.Caller

    def note(self, session: Session, action: audit.Action, subject: str, **detail: Any) -> None:
        """In the transaction of the change; `detail`: values for JSON, none of them a secret."""
        audit.record(session, self.caller, action, subject, detail)


async def get_trail(caller: Caller) -> Trail:
    return Trail(caller)


AuditTrail: TypeAlias = Annotated[Trail, Depends(get_trail)]


def may_change(user: User, owner: str, project_id: int | None = None) -> bool:
    """Whether what this person owns is the user's to change, as `store.access.rule` says; `project_id`: where it is."""
    return current().may_control(is_own=user.name == owner, project_id=project_id)


def ensure_own(user: User, owner: User, what: str, project_id: int | None = None) -> None:
    """Raises `Forbidden` for what isn't the user's to change."""
    if may_change(user, owner.name, project_id):
        return
    if user.name == owner.name:
        raise Forbidden(f"{what} is in a private project, of which {user.name} is only a viewer")
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
