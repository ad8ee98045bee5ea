"""The way of a login as its pages see it; without what speaks to the provider, which takes half a second to load."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

from store.accounts import identities

PATH = "/login/openid"
#: To log in at the provider.
MINUTES = 10


@dataclass(frozen=True, slots=True)
class Begun:
    """A login that goes on at the provider's `url`; `cookie` is for the browser to bring back."""

    url: str
    cookie: str


class Flow(Protocol):
    """Logins at one provider, `name` for people."""

    @property
    def name(self) -> str: ...

    def login_url(self, target: str) -> str:
        """Where a login begins: under the name that the provider leads back to, and that cookies come back to."""

    def begin(self, target: str) -> Begun:
        """A login that leads to this page of ours in the end. Raises ProviderAway."""

    def finish(
        self, cookie: str | None, answer: Mapping[str, str]
    ) -> tuple[identities.Person, str]:
        """Who has logged in, and where they wanted to go; `answer`: what the provider sent the browser back with.

        Raises NotAdmitted and ProviderAway.
        """
