"""Logins at an identity provider that speaks OpenID Connect."""

from api.openid.errors import NotAdmitted, ProviderAway
from api.openid.flow import MINUTES, PATH, Begun, Flow
from api.settings import LoginSettings

__all__ = ["MINUTES", "PATH", "Begun", "Flow", "NotAdmitted", "ProviderAway", "open_provider"]


def open_provider(settings: LoginSettings) -> Flow | None:
    """None where none is set."""
    if settings.oidc_issuer is None:
        return None
    # With httpx and authlib it takes half a second to load, which the API of most has no use for.
    from api.openid.provider import Provider

    return Provider(settings)
