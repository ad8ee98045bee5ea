"""Waiting for a service that is still starting, such as one of `docker compose up -d`."""

import socket
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass

import httpx

from normlab.client.waiting import LINE_SECONDS

READY_SECONDS = 120.0
_PAUSE_SECONDS = 1.0
_ASK_SECONDS = 10.0
#: What Normlab answers while it starts, and a proxy whose upstream isn't there yet.
_STARTING = (
    httpx.codes.SERVICE_UNAVAILABLE,
    httpx.codes.BAD_GATEWAY,
    httpx.codes.GATEWAY_TIMEOUT,
)


@dataclass(frozen=True, slots=True)
class Readiness:
    """The answer of `/readyz`; `status` is None without an answer."""

    status: int | None
    detail: str
    may_change: bool

    @property
    def ready(self) -> bool:
        return self.status == httpx.codes.OK


def wait_until_ready(
    url: str, *, trust_env: bool, say: Callable[[str], None] | None = None
) -> bool:
    """Asks `/readyz` until it answers 200, for up to two minutes; says on stderr what is awaited.

    False if the time is over, or if waiting can't help: nothing of that name, or not Normlab.
    """
    say = say or _to_stderr
    began = spoke = time.monotonic()
    answer = ask(f"{url}/readyz", trust_env)
    if answer.ready:
        return True
    if answer.may_change:
        say(f"{url} is not ready yet ({answer.detail}); waiting for up to {READY_SECONDS:.0f} s")
    while answer.may_change and time.monotonic() - began < READY_SECONDS:
        time.sleep(_PAUSE_SECONDS)
        answer = ask(f"{url}/readyz", trust_env)
        passed = time.monotonic() - began
        if answer.ready:
            say(f"{url} is ready after {passed:.0f} s")
            return True
        if time.monotonic() - spoke >= LINE_SECONDS:
            spoke = time.monotonic()
            say(f"still waiting for {url} after {passed:.0f} s ({answer.detail})")
    return False


def ask(url: str, trust_env: bool) -> Readiness:
    """One look at `/readyz` or `/healthz`."""
    try:
        answer = httpx.get(url, timeout=_ASK_SECONDS, trust_env=trust_env)
    except (httpx.HTTPError, httpx.InvalidURL, UnicodeError) as error:
        return Readiness(None, str(error) or type(error).__name__, may_be_starting(error))
    detail = f"it answers {answer.status_code}"
    with suppress(ValueError, AttributeError):
        # A proxy's answer may be HTML, or JSON that is no mapping.
        detail = answer.json().get("detail") or detail
    return Readiness(answer.status_code, detail, is_starting(answer.status_code))


def is_starting(status: int) -> bool:
    return status in _STARTING


def may_be_starting(error: BaseException) -> bool:
    """Whether waiting could help: an unknown host name stays unknown."""
    cause: BaseException | None = error
    # httpx wraps the socket's error twice; only the innermost tells an unknown name from a refused connection.
    while cause is not None:
        if isinstance(cause, socket.gaierror):
            return False
        cause = cause.__cause__ or cause.__context__
    return isinstance(
        error, (httpx.NetworkError, httpx.RemoteProtocolError, httpx.TimeoutException)
    )


def _to_stderr(text: str) -> None:
    print(text, file=sys.stderr, flush=True)  # noqa: T201 - for the person who waits
