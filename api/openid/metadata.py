"""What an identity provider publishes of itself: its addresses, and the keys that it signs with."""

import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import httpx2
import structlog
from joserfc.jwk import KeySet

from api.openid.errors import ProviderAway
from api.settings import is_private

log = structlog.get_logger(__name__)

#: For each step of a request to the provider: to connect, to send, to receive.
SECONDS = 5.0
_KEPT_SECONDS = 3600.0
_REQUIRED = ("authorization_endpoint", "token_endpoint", "jwks_uri")
_ADDRESSES = (*_REQUIRED, "userinfo_endpoint")
#: A provider that didn't answer isn't asked again before.
_PAUSE_SECONDS = 5.0


class Metadata:
    """Asked for when it is needed, and kept for an hour. Safe for many threads."""

    def __init__(self, name: str, issuer: str, clock: Callable[[], float] = time.monotonic) -> None:
        """`name`: of the provider, for messages."""
        self._name = name
        self._issuer = issuer
        self._clock = clock
        self._lock = threading.Lock()
        self._read: Mapping[str, Any] = {}
        self._keys: KeySet | None = None
        self._asked_at = -float("inf")
        self._is_away = False

    def read(self) -> Mapping[str, Any]:
        """Raises ProviderAway."""
        with self._lock:
            now = self._clock()
            if self._is_away and now - self._asked_at < _PAUSE_SECONDS:
                raise self._absent()
            if not self._read or now - self._asked_at > _KEPT_SECONDS:
                self._asked_at, self._is_away = now, True
                self._read, self._keys = self._fetch(), None
                self._is_away = False
            return self._read

    def read_keys(self, *, anew: bool = False) -> KeySet:
        """Raises ProviderAway."""
        keys = self._keys
        if keys is None or anew:
            with self.asking():
                keys = self._keys = KeySet.import_key_set(_get(self.read()["jwks_uri"]))
        return keys

    @contextmanager
    def asking(self) -> Iterator[None]:
        """What goes wrong meanwhile is the provider's fault: it is away, or answers what it shouldn't."""
        try:
            yield
        except (httpx2.HTTPError, httpx2.InvalidURL, ValueError, TypeError, LookupError) as error:
            log.warning("the identity provider could not be asked", error=repr(error))
            raise self._absent() from error

    def _fetch(self) -> Mapping[str, Any]:
        url = f"{self._issuer.rstrip('/')}/.well-known/openid-configuration"
        with self.asking():
            metadata: dict[str, Any] = _get(url)
            if metadata["issuer"] != self._issuer:
                raise ValueError(f"{url} is of {metadata['issuer']!r}, not of {self._issuer!r}")
            if missing := [name for name in _REQUIRED if name not in metadata]:
                raise ValueError(f"it names no {' and no '.join(missing)}")
            for name in _ADDRESSES:
                if name in metadata and not is_private(metadata[name]):
                    raise ValueError(f"its {name} does not begin with https: {metadata[name]!r}")
        return metadata

    def _absent(self) -> ProviderAway:
        return ProviderAway(
            f"{self._name} does not answer as it should, so nobody can log in there: try again in a moment. With a token "
            "you can."
        )


def _get(url: str) -> Any:
    return httpx2.get(url, timeout=SECONDS).raise_for_status().json()
