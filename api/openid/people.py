"""Whom the claims of an identity provider are about, and whether they may log in."""

import re
from collections.abc import Mapping, Sequence
from typing import Any

from api.openid.errors import NotAdmitted
from api.settings import LoginSettings
from store.access import ProjectRole
from store.accounts import identities
from trainer.spec import NAME_PATTERN

#: The lowest first.
_RANKS: Sequence[ProjectRole] = ("viewer", "member", "admin")


def wanted_claims(settings: LoginSettings) -> set[str]:
    """Those that a login is decided by."""
    wanted = {settings.oidc_user_claim or "preferred_username"}
    if settings.oidc_email_domains:
        wanted |= {"email", "email_verified"}
    if settings.oidc_group is not None or settings.oidc_project_roles:
        wanted.add(settings.oidc_group_claim)
    return wanted


def find_person(settings: LoginSettings, claims: Mapping[str, Any]) -> identities.Person:
    """Raises NotAdmitted."""
    email = _read_verified_email(claims)
    _ensure_domain(settings, email)
    _ensure_member(settings, claims)
    assert settings.oidc_issuer is not None
    name, domain = _find_name(settings, claims, email)
    # alice@other.example is not alice@lab.example.
    is_alone = domain is None or settings.oidc_email_domains == (domain.lower(),)
    return identities.Person(
        settings.oidc_name,
        settings.oidc_issuer,
        str(claims["sub"]),
        name,
        is_alone,
        _find_project_roles(settings, claims),
    )


def _read_verified_email(claims: Mapping[str, Any]) -> str | None:
    """Some providers let people enter an address of somebody else, and say that it isn't verified."""
    is_verified = claims.get("email_verified") in (True, "true")
    return str(claims["email"]) if is_verified and "email" in claims else None


def _ensure_domain(settings: LoginSettings, email: str | None) -> None:
    domains = settings.oidc_email_domains
    if domains and (email is None or email.rpartition("@")[2].lower() not in domains):
        raise NotAdmitted(
            f"Only people with a verified e-mail address of {' or '.join(domains)} may log in, and {settings.oidc_name} "
            "says of none that it is yours."
        )


def _ensure_member(settings: LoginSettings, claims: Mapping[str, Any]) -> None:
    group = settings.oidc_group
    if group is not None and group not in _read_groups(settings, claims):
        raise NotAdmitted(
            f"Only members of the group {group} may log in, and {settings.oidc_name} does not say that you are one (claim "
            f"{settings.oidc_group_claim})."
        )


def _read_groups(settings: LoginSettings, claims: Mapping[str, Any]) -> Sequence[Any]:
    """A person's only group may be told without a list around it."""
    groups = claims.get(settings.oidc_group_claim)
    return groups if isinstance(groups, list) else [groups]


def _find_project_roles(
    settings: LoginSettings, claims: Mapping[str, Any]
) -> Mapping[str, ProjectRole] | None:
    """By project the highest role that a group of the person's gives; None: the claims don't say."""
    # A provider that doesn't tell groups at all says of nobody that they have left one.
    if settings.oidc_project_roles and settings.oidc_group_claim not in claims:
        return None
    groups = _read_groups(settings, claims)
    roles: dict[str, ProjectRole] = {}
    for grant in settings.oidc_project_roles:
        if grant.group in groups:
            given = (roles.get(grant.project, grant.role), grant.role)
            roles[grant.project] = max(given, key=_RANKS.index)
    return roles


def _find_name(
    settings: LoginSettings, claims: Mapping[str, Any], email: str | None
) -> tuple[str, str | None]:
    """Of a new account: of an address, what stands before the @; what stands behind it, too."""
    match settings.oidc_user_claim:
        case None:
            said = claims.get("preferred_username") or email
        case "email":
            said = email
        case claim:
            said = claims.get(claim)
    *names, last = str(said or "").rsplit("@", 1)
    name, domain = (names[0], last) if names else (last, None)
    if not re.fullmatch(NAME_PATTERN, name):
        raise NotAdmitted(
            f"{settings.oidc_name} gives you no name that an account can have, but {said!r} (claim "
            f"{settings.oidc_user_claim or 'preferred_username, else a verified email'}). An administrator can choose "
            "another claim: NORMLAB_OIDC_USER_CLAIM."
        )
    return name, domain
