"""Logins at an identity provider: whose account they open.

An account belongs to an issuer and a subject, which a provider gives to nobody else. It names people, too, but may give a
name or an address to somebody else later: a name decides nothing but what a new account is called.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from shlex import quote

from sqlalchemy import delete, func, select
from sqlalchemy.orm import Session, joinedload

from store.access import ProjectRole, group_roles
from store.accounts import audit, authentication, users
from store.accounts.bootstrap import ADMIN
from store.db import LoginRefused, LoginTaken, ProviderIdentity, Token, User, database_now

#: Serialises first logins: the key of an advisory lock.
_LOCK = 0x6E6C_0037


@dataclass(frozen=True, slots=True)
class Person:
    """Who has logged in at `provider` (its name, as people know it).

    `name`: of a new account. `is_alone`: whether nobody else there has a login that gives this name. `project_roles`: what
    their groups there give them here, by project; None: it was not said.
    """

    provider: str
    issuer: str
    subject: str
    name: str
    is_alone: bool
    project_roles: Mapping[str, ProjectRole] | None = None


@dataclass(frozen=True, slots=True)
class Admission:
    """`newcomers`: the role of who has no account; None: they get none. `links`: whether an account that has the
    person's name, isn't an admin's and was never linked becomes theirs, if they alone have that name there."""

    newcomers: users.Role | None
    links: bool = False


def log_in(session: Session, person: Person, admission: Admission) -> tuple[User, Token]:
    """Their account, and the token that the session of their browser belongs to. Raises LoginRefused."""
    identity = _find(session, person)
    made: list[audit.Action] = []
    if identity is None:
        # Of two first logins at once, the second finds what the first has made.
        session.execute(select(func.pg_advisory_xact_lock(_LOCK)))
        identity = _find(session, person) or _admit(session, person, admission, made)
    user = identity.user
    if user.disabled_at is not None:
        raise LoginRefused(f"The account {user.name} is disabled. An administrator can enable it.")
    token = _find_token(session, identity, person)
    caller = authentication.Caller.of(user, token.id, token.scope, {})
    for action in made:
        detail = {"issuer": person.issuer, "login": person.subject, "role": user.role}
        audit.record(session, caller, action, user.name, detail)
    roles = person.project_roles
    for project, role in () if roles is None else group_roles.follow(session, user, roles):
        change: audit.Action = "project.member_removed" if role is None else "project.member_set"
        given = {"user": user.name, "role": role, "by": f"groups at {person.provider}"}
        audit.record(session, caller, change, project, given)
    return user, token


def link(session: Session, user: User, issuer: str, subject: str) -> None:
    """Raises LoginTaken if somebody else has it; harmless if it is this user's."""
    session.execute(select(func.pg_advisory_xact_lock(_LOCK)))
    statement = select(ProviderIdentity).options(joinedload(ProviderIdentity.user))
    present = session.scalars(
        statement.where(ProviderIdentity.issuer == issuer, ProviderIdentity.subject == subject)
    ).one_or_none()
    if present is None:
        session.add(ProviderIdentity(user_id=user.id, issuer=issuer, subject=subject))
        session.flush()
    elif present.user_id != user.id:
        raise LoginTaken(
            f"{subject} at {issuer} is {present.user.name}'s already: `normlab users unlink {present.user.name}` first"
        )


def unlink(session: Session, user: User) -> Sequence[str]:
    """At all providers, for good: no login gets the account by its name again.

    Revokes the tokens of these logins and those that were made with them: they may be somebody else's. Returns the
    subjects. Raises LastAdmin.
    """
    rows = session.scalars(
        select(ProviderIdentity).where(ProviderIdentity.user_id == user.id).with_for_update()
    ).all()
    refusal = (
        f"the only valid tokens of an admin were made with logins of {user.name}, and would be revoked: make another "
        "user an admin, with a token, first"
    )
    for row in rows:
        if row.token_id is not None:
            users.revoke_token(session, row.token_id, "own", refusal)
    session.get_one(User, user.id).unlinked_at = database_now(session)
    session.execute(delete(ProviderIdentity).where(ProviderIdentity.user_id == user.id))
    return [row.subject for row in rows]


def _find(session: Session, person: Person) -> ProviderIdentity | None:
    """Locked, so that of two logins at once one makes the token."""
    statement = (
        select(ProviderIdentity)
        .options(joinedload(ProviderIdentity.user, innerjoin=True))
        .where(ProviderIdentity.issuer == person.issuer, ProviderIdentity.subject == person.subject)
        .with_for_update(of=ProviderIdentity)
    )
    return session.scalars(statement).one_or_none()


def _admit(
    session: Session, person: Person, admission: Admission, made: list[audit.Action]
) -> ProviderIdentity:
    """`made`: gets what it has made, for the audit trail."""
    user = users.find(session, person.name)
    if user is None:
        user = _create(session, person, admission)
        made.append("user.created")
    elif not _may_link(session, user, person, admission):
        raise LoginRefused(
            f"There is an account named {person.name} already, which is not linked to this login. If it is yours, ask "
            f"an administrator for: {_link_command(person.name, person)}"
        )
    identity = ProviderIdentity(user=user, issuer=person.issuer, subject=person.subject)
    session.add(identity)
    session.flush()
    made.append("identity.linked")
    return identity


def _create(session: Session, person: Person, admission: Admission) -> User:
    # `reset-admin` makes whoever has that name an admin.
    if admission.newcomers is None or person.name == ADMIN:
        raise LoginRefused(
            f"You are logged in at {person.provider}, but have no account here. Ask an administrator for one: "
            f"normlab users add {quote(person.name)}, then {_link_command(person.name, person)}"
        )
    return users.create_user(session, person.name, admission.newcomers)


def _link_command(name: str, person: Person) -> str:
    return f"normlab users link {quote(name)} --subject {quote(person.subject)}"


def _may_link(session: Session, user: User, person: Person, admission: Admission) -> bool:
    if not (admission.links and person.is_alone) or user.role == "admin":
        return False
    if user.unlinked_at is not None:
        return False
    other = select(ProviderIdentity.id).where(ProviderIdentity.user_id == user.id).limit(1)
    return session.scalars(other).first() is None


def _find_token(session: Session, identity: ProviderIdentity, person: Person) -> Token:
    """The one of the logins before, or a new one if that was revoked."""
    if identity.token_id is not None:
        query = select(Token).where(Token.id == identity.token_id, authentication.is_valid())
        token = session.scalars(query.with_for_update(key_share=True)).one_or_none()
        if token is not None:
            return token
    # Nobody is told its secret: it opens nothing but these sessions.
    token, _ = users.create_token(session, identity.user, f"logins with {person.provider}"[:100])
    identity.token_id = token.id
    session.flush()
    return token
