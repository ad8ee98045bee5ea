"""Which service is meant, and whose token it gets: a token is sent only to its own service, whatever links and
redirects say."""

import os
from collections.abc import Generator
from enum import Enum, auto

import httpx

from normlab.errors import NoToken
from normlab.home import Home


class Origin(Enum):
    """Where the URL of the service comes from."""

    ARGUMENT = auto()
    ENVIRONMENT = auto()
    LOCAL = auto()


#: What to do when it doesn't answer.
HINTS = {
    Origin.ARGUMENT: "check the URL given to the client, and that the service runs there",
    Origin.ENVIRONMENT: "check NORMLAB_URL, and that the service runs there; "
    "with Docker, `docker compose ps` shows it",
    Origin.LOCAL: "start the local stack with: normlab up --detach",
}
#: How a message names it.
NAMES = {
    Origin.ARGUMENT: "was given to the client",
    Origin.ENVIRONMENT: "NORMLAB_URL names",
    Origin.LOCAL: "is the local stack",
}


class Bearer(httpx.Auth):
    """A token for one service."""

    def __init__(self, url: str, token: str) -> None:
        self._url = url
        self._token = token

    def auth_flow(self, request: httpx.Request) -> Generator[httpx.Request, httpx.Response, None]:
        # Compared at every request: an answer may name an absolute address (`Location`), to which httpx would
        # send the same `auth`.
        if _place_of(request.url) == _place_of(httpx.URL(self._url)):
            request.headers["Authorization"] = f"Bearer {self._token}"
        yield request


class HomeBearer(httpx.Auth):
    """A token for the process that is a local stack's API: the given one, else the home's own.

    Anything else that listens at its address counts as no answer: httpx.ConnectError.
    """

    def __init__(self, home: Home, token: str | None = None) -> None:
        self._home = home
        self._token = token

    def auth_flow(self, request: httpx.Request) -> Generator[httpx.Request, httpx.Response, None]:
        # Asked at every request: between two of them the stack may have gone down and another process have taken
        # the port.
        if not self._home.is_served():
            raise httpx.ConnectError(
                "the API of the local stack does not listen there; another service needs "
                "NORMLAB_URL and NORMLAB_TOKEN"
            )
        token = self._token or self._home.token()
        if token is None:
            raise NoToken(f"{self._home.token_file}, the token of the local stack, can't be read")
        yield from Bearer(self._home.running_api_url, token).auth_flow(request)


def _place_of(url: httpx.URL) -> tuple[str, str, int | None]:
    return url.scheme, url.host, url.port


def find_bearer(url: str, home: Home) -> httpx.Auth | None:
    """The environment's token or the home's; None if neither is meant for this address.

    NORMLAB_TOKEN belongs to the service that NORMLAB_URL names, and without that to the local stack.
    """
    token, named = os.environ.get("NORMLAB_TOKEN") or None, os.environ.get("NORMLAB_URL")
    # The environment's token was made by that service; sent anywhere else it would be given away.
    if token and named and _is_same(url, named):
        return Bearer(url, token)
    if _is_same(url, home.running_api_url):
        return HomeBearer(home, None if named else token)
    return None


def _is_same(url: str, other: str) -> bool:
    return url.rstrip("/").lower() == other.rstrip("/").lower()


def explain_unusable_token() -> str:
    """Why the environment's token can't be used."""
    if not os.environ.get("NORMLAB_TOKEN"):
        return "NORMLAB_TOKEN is not set"
    named = os.environ.get("NORMLAB_URL")
    owner = f"{named}, which NORMLAB_URL names," if named else "the local stack"
    return f"NORMLAB_TOKEN is for {owner} only"


def find_origin(url: str | None) -> Origin:
    if url:
        return Origin.ARGUMENT
    return Origin.ENVIRONMENT if os.environ.get("NORMLAB_URL") else Origin.LOCAL
