"""Users, their limits and tokens: admins manage users and limits, users manage their own tokens; and the audit trail."""

from datetime import UTC, datetime, timedelta
from typing import Annotated

import structlog
from fastapi import APIRouter, Depends, Query, status
from sqlalchemy.orm import Session

from api.http import (
    Administrator,
    AuditTrail,
    Conflict,
    Document,
    Filter,
    Forbidden,
    Id,
    Invalid,
    NotFound,
    Page,
    Reader,
    Secret,
    Trail,
    describe_body,
    get_current_user,
    lock_asking_token,
    parse,
    require_full_scope,
)
from api.schemas import (
    AuditView,
    ChangedUserView,
    LimitsChange,
    LimitsView,
    Listing,
    NewToken,
    NewUser,
    Role,
    SecretView,
    TokenView,
    UserChange,
    UserView,
)
from api.services import Services, ServicesDep
from store.access import members
from store.accounts import audit, identities, users
from store.db import User
from store.jobs import Limits, limits

_LONGEST_LIFE = timedelta(days=36_525)

log = structlog.get_logger(__name__)

router = APIRouter(tags=["users"], dependencies=[Depends(get_current_user)])


@router.get("/users/me", summary="Read the current user")
def read_self(user: Reader) -> UserView:
    return UserView.model_validate(user)


@router.get("/users", summary="List users")
def list_users(services: ServicesDep) -> Listing[UserView]:
    with services.sessions.begin() as session:
        return Listing(items=[UserView.model_validate(one) for one in users.list_users(session)])


@router.post(
    "/users",
    status_code=status.HTTP_201_CREATED,
    openapi_extra=describe_body(NewUser),
    summary="Create a user",
)
def create_user(
    services: ServicesDep, admin: Administrator, trail: AuditTrail, document: Document
) -> UserView:
    new = parse(NewUser, document)
    with services.sessions.begin() as session:
        view = UserView.model_validate(users.create_user(session, new.name, new.role))
        trail.note(session, "user.created", view.name, role=view.role)
    log.info("a user was created", user=view.name, role=view.role, by=admin.name)
    return view


@router.patch(
    "/users/{name}",
    openapi_extra=describe_body(UserChange),
    summary="Change a user's role, access, weight or login",
)
def change_user(
    services: ServicesDep, admin: Administrator, trail: AuditTrail, name: str, document: Document
) -> ChangedUserView:
    """A private project may be left without an admin who can act as one: the answer names it."""
    change = parse(UserChange, document)
    changed = change.model_dump(exclude_none=True, exclude={"login"})
    with services.sessions.begin() as session:
        user = find_user(session, name)
        is_own_access = change.role is not None or change.disabled is not None
        if user.id == admin.id and is_own_access:
            raise Conflict("admins cannot change their own role or access: ask another admin")
        if change.role is not None:
            users.set_role(session, user, change.role)
        if change.disabled is not None:
            (users.disable_user if change.disabled else users.enable_user)(session, user)
        if change.weight is not None:
            users.set_weight(session, user, change.weight)
        if "login" in change.model_fields_set:
            _change_login(services, session, trail, user, change.login)
        session.refresh(user)
        unmanaged = members.list_unmanaged(session, user)
        view = ChangedUserView.model_validate(
            {**dict(UserView.model_validate(user)), "unmanaged_projects": unmanaged}
        )
        if changed:
            trail.note(session, "user.changed", view.name, **changed)
    log.info("a user was changed", user=view.name, by=admin.name, **changed)
    return view


def _change_login(
    services: Services, session: Session, trail: Trail, user: User, subject: str | None
) -> None:
    if subject is None:
        subjects = identities.unlink(session, user)
        trail.note(session, "identity.unlinked", user.name, logins=list(subjects))
        return
    issuer = services.settings.oidc_issuer
    if issuer is None:
        raise Invalid.at(
            "/login", "there is no identity provider", "set NORMLAB_OIDC_ISSUER where the API runs"
        )
    identities.link(session, user, issuer, subject)
    trail.note(session, "identity.linked", user.name, issuer=issuer, login=subject)


@router.get("/limits", summary="List the limits of each role and each person")
def list_limits(services: ServicesDep) -> Listing[LimitsView]:
    """A person's own limit takes precedence over that of their role."""
    with services.sessions.begin() as session:
        of_roles, of_people = limits.of_roles(session), limits.of_people(session)
    items = [LimitsView.of(found, role=role) for role, found in of_roles.items()]
    items += [LimitsView.of(found, user=name) for name, found in of_people.items()]
    return Listing(items=items)


@router.patch(
    "/limits/roles/{role}",
    openapi_extra=describe_body(LimitsChange),
    summary="Change the limits of a role",
)
def change_limits_of_role(
    services: ServicesDep, admin: Administrator, trail: AuditTrail, role: Role, document: Document
) -> LimitsView:
    """They hold for everybody of that role who has no limit of their own."""
    change = parse(LimitsChange, document).model_dump(exclude_unset=True)
    with services.sessions.begin() as session:
        limits.change(session, role, change)
        trail.note(session, "limits.changed", f"role {role}", **change)
        view = LimitsView.of(limits.of_roles(session)[role], role=role)
    log.info("the limits of a role were changed", role=role, by=admin.name, **change)
    services.waker.wake()
    return view


@router.patch(
    "/limits/users/{name}",
    openapi_extra=describe_body(LimitsChange),
    summary="Change a person's own limits",
)
def change_limits_of_user(
    services: ServicesDep, admin: Administrator, trail: AuditTrail, name: str, document: Document
) -> LimitsView:
    """They take precedence over those of the person's role, also where they are higher."""
    change = parse(LimitsChange, document).model_dump(exclude_unset=True)
    with services.sessions.begin() as session:
        limits.change(session, find_user(session, name), change)
        trail.note(session, "limits.changed", name, **change)
        view = LimitsView.of(limits.of_people(session).get(name, Limits()), user=name)
    log.info("the limits of a user were changed", user=name, by=admin.name, **change)
    services.waker.wake()
    return view


@router.get("/audit", summary="List who changed what, newest first", tags=["users"])
def list_audit(
    services: ServicesDep,
    admin: Administrator,
    page: Page,
    user: Filter = None,
    action: Annotated[audit.Action | None, Query(description="what was done")] = None,
) -> Listing[AuditView]:
    """Changes of users, tokens, limits, reservations, datasets, annotations and declarations, and logins in a browser. A
    job's changes of status are in its own history (`GET /jobs/{id}/transitions`)."""
    with services.sessions.begin() as session:
        found = audit.list_records(
            session, user=user, action=action, cursor=page.cursor, limit=page.limit
        )
        items = [AuditView.of(row) for row in found.items]
        return Listing(items=items, next_cursor=found.next_cursor)


@router.get("/tokens", summary="List your own tokens; for admins, all tokens")
def list_tokens(services: ServicesDep, user: Reader) -> Listing[TokenView]:
    with services.sessions.begin() as session:
        tokens = users.list_tokens(session, None if user.role == "admin" else user)
        return Listing(items=[TokenView.of(token) for token in tokens])


@router.post(
    "/tokens",
    status_code=status.HTTP_201_CREATED,
    dependencies=[Depends(require_full_scope)],
    openapi_extra=describe_body(NewToken),
    summary="Create a token; the secret is shown only once",
)
def create_token(
    services: ServicesDep, user: Reader, asking: Secret, trail: AuditTrail, document: Document
) -> SecretView:
    """The new token expires no later than the token of this request."""
    new = parse(NewToken, document)
    if new.user not in (None, user.name) and user.role != "admin":
        raise Forbidden(f"{user.name} can create tokens only for themselves")
    if new.expires_at is not None:
        _ensure_ahead(new.expires_at)
    with services.sessions.begin() as session:
        parent = lock_asking_token(session, asking)
        owner = find_user(session, new.user, "/user") if new.user else user
        most = services.settings.tokens_per_person
        token, secret = users.create_token(
            session, owner, new.name, new.expires_at, scope=new.scope, parent=parent, most=most
        )
        view = TokenView.of(token)
        expires_at = view.expires_at and view.expires_at.isoformat()
        trail.note(
            session,
            "token.created",
            f"token {view.id}",
            name=view.name,
            user=view.user,
            scope=view.scope,
            expires_at=expires_at,
        )
    log.info("a token was created", token=view.id, name=view.name, user=view.user, by=user.name)
    return SecretView(**view.model_dump(), secret=secret)


@router.delete(
    "/tokens/{token_id}",
    status_code=status.HTTP_204_NO_CONTENT,
    dependencies=[Depends(require_full_scope)],
    summary="Revoke a token",
)
def revoke_token(
    services: ServicesDep,
    user: Reader,
    trail: AuditTrail,
    token_id: Id,
    children: Annotated[
        users.Children,
        Query(
            description="which tokens created with it are revoked too: those of its user (`own`), `all` or `none`"
        ),
    ] = "own",
) -> None:
    with services.sessions.begin() as session:
        token = users.find_token(session, token_id)
        # The answer must not reveal that another user's token exists.
        if token is None or (user.role != "admin" and token.user_id != user.id):
            raise NotFound(f"there is no token {token_id}")
        # A former admin may have created tokens for others with this one.
        if children == "all" and user.role != "admin":
            raise Forbidden(f"{user.name} can revoke only their own tokens, not `all`")
        owner, name = token.user.name, token.name
        trail.note(
            session,
            "token.revoked",
            f"token {token_id}",
            name=name,
            user=owner,
            children=children,
        )
        users.revoke_token(session, token_id, children)
    log.info(
        "a token was revoked",
        token=token_id,
        name=name,
        user=owner,
        children=children,
        by=user.name,
    )


def _ensure_ahead(expires_at: datetime) -> None:
    """Raises `Invalid` for a past time, and for one beyond the range of Python's datetime."""
    now = datetime.now(UTC)
    if not now < expires_at < now + _LONGEST_LIFE:
        detail = f"must be in the future, at most 100 years ahead, but got {expires_at.isoformat()}"
        raise Invalid.at("/expires_at", detail, "omit it: the token then never expires")


def find_user(session: Session, name: str, pointer: str | None = None) -> User:
    """Raises `NotFound`, or `Invalid` where a field of the request names the user."""
    user = users.find(session, name)
    if user is None:
        detail = f"there is no user named {name!r}"
        raise Invalid.at(pointer, detail) if pointer else NotFound(detail)
    return user
