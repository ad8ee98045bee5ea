"""HTTP requests to the service: address, token, retries, outages, errors, pages."""

import contextlib
import ipaddress
import os
import time
from collections.abc import Iterator, Mapping, Sequence
from http import HTTPStatus
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx

from normlab.client.bearer import (
    HINTS,
    NAMES,
    Bearer,
    HomeBearer,
    Origin,
    explain_unusable_token,
    find_bearer,
    find_origin,
)
from normlab.client.downloads import save
from normlab.client.ids import PREFIX
from normlab.client.readiness import ask, is_starting, may_be_starting, wait_until_ready
from normlab.client.waiting import retry_after
from normlab.errors import NormlabError, NoToken, NotReachable, Refused
from normlab.home import Home

_RETRY_PAUSES = (0.5, 1.0, 2.0)
#: So long a request that came too soon after others is sent again.
_HASTE_SECONDS = 60.0
#: The service may read a lot before it sends the first byte.
_STREAM = httpx.Timeout(600.0, connect=5.0)


class Transport:
    """One connection pool to one service.

    A service that NORMLAB_URL names, and a local stack that is starting, are waited for: once,
    before the first answer.
    """

    def __init__(
        self,
        url: str | None = None,
        token: str | None = None,
        timeout: float = 60.0,
        *,
        home: Home | None = None,
    ) -> None:
        """`home`: this local stack and its own token, whatever the environment names."""
        if home is None:
            self._home = home = Home.from_environment()
            self._origin = find_origin(url)
            url = url or os.environ.get("NORMLAB_URL") or home.running_api_url
            self.url = url.rstrip("/")
            self._bearer = Bearer(self.url, token) if token else find_bearer(self.url, home)
        else:
            self._home, self._origin = home, Origin.LOCAL
            self.url = home.running_api_url
            self._bearer = HomeBearer(home)
        # A proxy for the world outside is none for this machine.
        self._trust_env = not _is_loopback(self.url)
        self._is_worth_waiting = self._origin is Origin.ENVIRONMENT or (
            self._origin is Origin.LOCAL and _is_starting(home)
        )
        self._client = httpx.Client(
            base_url=self.url + PREFIX,
            auth=self._bearer,
            timeout=httpx.Timeout(timeout, connect=5.0),
            trust_env=self._trust_env,
        )

    def close(self) -> None:
        self._client.close()

    def request(
        self, method: str, path: str, *, again: bool = False, **arguments: Any
    ) -> httpx.Response:
        """The answer, a success; `again` for what may safely be sent twice.

        Raises NoToken, NotReachable, or Refused with the service's problem.
        """
        # Before the wait: two minutes for a service and then an error about the token would be two minutes
        # wasted.
        self._ensure_token()
        # A connection that breaks after the request was sent leaves open whether it was done. What has no
        # idempotency key must not be sent into such doubt.
        if self._is_worth_waiting and not (again or method == "GET"):
            # What must not be sent twice is sent only to a service that is there.
            self._await_somebody()
        pauses = _RETRY_PAUSES if again else ()
        if not self._is_worth_waiting:
            return self._send(method, path, pauses, **arguments)
        try:
            # The first attempt has no retries: if the service is still starting, `wait_until_ready` waits longer
            # and tells the person why.
            return self._send(method, path, (), **arguments)
        except (NotReachable, Refused) as error:
            if not self._has_become_ready(error):
                raise
            return self._send(method, path, pauses, **arguments)
        finally:
            # Once only: a service that was there and has gone is an outage, which the caller may outlast, and not
            # a start.
            self._is_worth_waiting = False

    def _ensure_token(self) -> None:
        """Before anything is sent: whoever listens there may not be who is meant."""
        if self._bearer is None:
            home = self._home
            named = f"{self.url}, which {NAMES[self._origin]}, needs a token of its own"
            kept = f"; the one in {home.token_file} is for {home.running_api_url} only"
            raise NoToken(
                f"{explain_unusable_token()}, and {named}{kept if home.token_file.exists() else ''}"
            )

    def _send(
        self, method: str, path: str, pauses: Sequence[float], **arguments: Any
    ) -> httpx.Response:
        # None marks the last attempt, whose failure is the caller's.
        for pause in (*pauses, None):
            try:
                answer = self._ask(method, path, **arguments)
            except (httpx.TransportError, httpx.InvalidURL, UnicodeError) as error:
                # An address that is no URL doesn't become one by waiting.
                if pause is None or not isinstance(error, httpx.TransportError):
                    raise NotReachable(self._unreachable(error)) from error
            else:
                # 503 is the one answer that says nothing was done and to come again: the service is starting, or
                # its checkers are busy.
                if answer.status_code != 503 or pause is None:
                    return _checked(answer)
                pause = retry_after(answer.headers, pause)
            time.sleep(pause)
        raise AssertionError

    def _ask(self, method: str, path: str, **arguments: Any) -> httpx.Response:
        """Waits where there were too many requests: nothing was done, whatever was asked."""
        give_up = time.monotonic() + _HASTE_SECONDS
        while True:
            answer = self._client.request(method, path, **arguments)
            if answer.status_code != HTTPStatus.TOO_MANY_REQUESTS or time.monotonic() > give_up:
                return answer
            time.sleep(retry_after(answer.headers, 1.0))

    def _has_become_ready(self, error: NotReachable | Refused) -> bool:
        if isinstance(error, Refused):
            may_change = is_starting(error.status)
        else:
            may_change = error.__cause__ is not None and may_be_starting(error.__cause__)
        return may_change and wait_until_ready(self.url, trust_env=self._trust_env)

    def _await_somebody(self) -> None:
        """Until anybody answers; a service that isn't ready may still take this request."""
        if ask(f"{self.url}/healthz", self._trust_env).status is None:
            wait_until_ready(self.url, trust_env=self._trust_env)
        self._is_worth_waiting = False

    def _unreachable(self, error: Exception) -> str:
        reason = str(error) or type(error).__name__
        return f"{self.url} does not answer ({reason}); {HINTS[self._origin]}"

    def get(self, path: str, **parameters: Any) -> Any:
        given = {name: value for name, value in parameters.items() if value is not None}
        return _json(self.request("GET", path, params=given))

    def post(self, path: str, body: Any = None, **parameters: Any) -> Any:
        given = {name: value for name, value in parameters.items() if value is not None}
        return _json(self.request("POST", path, json=body, params=given))

    def items(self, path: str, *, most: int | None = None, **parameters: Any) -> Iterator[Any]:
        """Every item of a paged list, or the first `most`."""
        page = parameters | {"limit": min(most, 100) if most else 100}
        sent = 0
        while True:
            answer = self.get(path, **page)
            for item in answer["items"]:
                if most is not None and sent >= most:
                    return
                sent += 1
                yield item
            if not answer.get("next_cursor") or (most is not None and sent >= most):
                return
            page["cursor"] = answer["next_cursor"]

    def stream(self, path: str, **parameters: Any) -> Iterator[bytes]:
        """The answer's bytes as they come, whole or NotReachable is raised."""
        self._ensure_token()
        given = {name: value for name, value in parameters.items() if value is not None}
        try:
            # Closed even if the reader stops in the middle: an open answer keeps its connection out of the pool.
            with contextlib.closing(self._open(path, given)) as answer:
                # An error's body has to be read before its problem can be shown; a success is left to the stream.
                if not answer.is_success:
                    answer.read()
                yield from _checked(answer).iter_bytes()
        except httpx.TransportError as error:
            raise NotReachable(self._unreachable(error)) from error

    def _open(self, path: str, given: Mapping[str, Any]) -> httpx.Response:
        """An answer whose body is not read yet; a service that is still starting is waited for."""
        request = self._client.build_request("GET", path, params=given, timeout=_STREAM)
        try:
            return self._client.send(request, stream=True)
        except httpx.TransportError as error:
            may_wait = self._is_worth_waiting and may_be_starting(error)
            if not (may_wait and wait_until_ready(self.url, trust_env=self._trust_env)):
                raise
            return self._client.send(request, stream=True)
        finally:
            self._is_worth_waiting = False

    def download(self, path: str, target: Path) -> None:
        save(self.stream(path), target)


def _is_starting(home: Home) -> bool:
    return home.is_locked() and home.read_state().get("phase") == "starting"


def _is_loopback(url: str) -> bool:
    host = urlsplit(url).hostname or ""
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _checked(answer: httpx.Response) -> httpx.Response:
    if answer.is_success:
        return answer
    try:
        problem = answer.json()
    except ValueError:
        problem = None
    # Not our service: a proxy, or something else at that address. Its text is the best clue.
    if not isinstance(problem, Mapping):
        problem = {"title": answer.reason_phrase, "detail": answer.text[:500]}
    if answer.has_redirect_location:
        problem = {"detail": _redirection(answer)}
    raise Refused(answer.status_code, problem)


def _redirection(answer: httpx.Response) -> str:
    """Redirects are not followed: neither token nor document may go to an address that the user didn't name."""
    return (
        f"{answer.url} redirects to {answer.headers['Location']}: set NORMLAB_URL to that service"
    )


def _json(answer: httpx.Response) -> Any:
    if not answer.content:
        return None
    try:
        return answer.json()
    except ValueError:
        raise NormlabError(f"{answer.url} did not answer with JSON; check NORMLAB_URL") from None
