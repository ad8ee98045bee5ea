"""Bearer authentication that sends a token only to its own service, whatever links and redirects say."""

from collections.abc import Generator

import httpx

from normlab.errors import NoToken
from normlab.home import Home


class Bearer(httpx.Auth):
    """A token for one service."""

    def __init__(self, url: str, token: str) -> None:
        self._url = url
        self._token = token

    def auth_flow(self, request: httpx.Request) -> Generator[httpx.Request, httpx.Response, None]:
        if _origin(request.url) == _origin(httpx.URL(self._url)):
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
        if not self._home.is_served():
            raise httpx.ConnectError(
                "the API of the local stack does not listen there; another service needs "
                "NORMLAB_URL and NORMLAB_TOKEN"
            )
        token = self._token or self._home.token()
        if token is None:
            raise NoToken(f"{self._home.token_file}, the token of the local stack, can't be read")
        yield from Bearer(self._home.running_api_url, token).auth_flow(request)


def _origin(url: httpx.URL) -> tuple[str, str, int | None]:
    return url.scheme, url.host, url.port
