"""The authorization code flow with PKCE: a login begins here, goes on at the provider, and ends here.

What belongs to one login (state, nonce, verifier) is kept by the browser that began it, signed, so that any process of the
API can end it, and no other browser.
"""

import base64
import hashlib
import hmac
import secrets
import threading
import time
from collections.abc import Iterator, Mapping, MutableMapping
from contextlib import contextmanager
from typing import Any
from urllib.parse import quote_plus, urlencode

import structlog
from authlib.common.errors import AuthlibBaseError
from authlib.integrations.httpx_client import OAuth2Client
from joserfc import jwt
from joserfc.errors import InvalidKeyIdError, JoseError
from joserfc.jwk import OctKey

from api.openid.errors import NotAdmitted, ProviderAway
from api.openid.flow import MINUTES, PATH, Begun
from api.openid.metadata import SECONDS, Metadata
from api.openid.people import find_person, wanted_claims
from api.settings import LoginSettings
from store.accounts import identities

log = structlog.get_logger(__name__)

#: Logins that wait for the provider at once; more would hold the threads that answer everybody.
_AT_ONCE = 8
#: Clocks may differ by so much.
_LEEWAY_SECONDS = 60
#: Browsers take no larger cookies.
_LONGEST_COOKIE = 3800
#: Of signatures that only the provider can make: none with a shared secret, and none without a signature.
_ALGORITHMS = (
    "RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA", "Ed25519",
)  # fmt: skip


class Provider:
    """A `Flow`. Safe for many threads."""

    def __init__(self, settings: LoginSettings) -> None:
        """Settings with an issuer, which are complete then."""
        assert settings.oidc_issuer is not None
        assert settings.oidc_client_id is not None
        assert settings.oidc_client_secret is not None
        self.name = settings.oidc_name
        self._settings = settings
        self._issuer = settings.oidc_issuer
        self._client_id = settings.oidc_client_id
        self._secret = settings.oidc_client_secret.get_secret_value()
        self._key = OctKey.import_key(
            hmac.digest(self._secret.encode(), b"normlab login", hashlib.sha256)
        )
        self._metadata = Metadata(self.name, self._issuer)
        self._places = threading.BoundedSemaphore(_AT_ONCE)

    def login_url(self, target: str) -> str:
        return f"{self._settings.public_url}{PATH}?{urlencode({'next': target})}"

    def begin(self, target: str) -> Begun:
        state, nonce, verifier = (secrets.token_urlsafe(48) for _ in range(3))
        with self._place():
            metadata = self._metadata.read()
        with self._client(metadata) as client:
            url, _ = client.create_authorization_url(
                metadata["authorization_endpoint"], state=state, nonce=nonce, code_verifier=verifier
            )
        claims = {"state": state, "nonce": nonce, "verifier": verifier, "next": target}
        cookie = self._sign(claims)
        if len(cookie) > _LONGEST_COOKIE:
            cookie = self._sign({**claims, "next": "/"})
        return Begun(url, cookie)

    def finish(
        self, cookie: str | None, answer: Mapping[str, str]
    ) -> tuple[identities.Person, str]:
        begun = self._read(cookie)
        state = answer.get("state", "")
        if begun is None or not hmac.compare_digest(begun["state"].encode(), state.encode()):
            raise NotAdmitted(
                f"This login was begun more than {MINUTES} minutes ago, or in another browser or tab. Log in again."
            )
        if answer.get("iss", self._issuer) != self._issuer:
            raise NotAdmitted("The answer comes from another identity provider. Log in again.")
        if "code" not in answer:
            reason = answer.get("error_description") or answer.get("error") or "it says no reason"
            raise NotAdmitted(f"{self.name} refused the login: {reason[:300]}")
        with self._place():
            claims = self._fetch_claims(answer["code"], begun["verifier"], begun["nonce"])
        return find_person(self._settings, claims), begun["next"]

    def _fetch_claims(self, code: str, verifier: str, nonce: str) -> Mapping[str, Any]:
        """Of the checked ID token and, where those are not all that is needed, what the provider says besides."""
        metadata = self._metadata.read()
        with self._client(metadata) as client, self._metadata.asking():
            tokens = self._redeem(client, metadata["token_endpoint"], code, verifier)
            claims = self._check(str(tokens.get("id_token", "")), nonce)
            endpoint = metadata.get("userinfo_endpoint")
            if endpoint is None or wanted_claims(self._settings) <= claims.keys():
                return claims
            told = client.get(endpoint).raise_for_status().json()
            # Of an answer about somebody else nothing is taken.
            return {**told, **claims} if told["sub"] == claims["sub"] else claims

    def _redeem(
        self, client: OAuth2Client, endpoint: str, code: str, verifier: str
    ) -> Mapping[str, Any]:
        try:
            tokens: Mapping[str, Any] = client.fetch_token(
                endpoint, code=code, code_verifier=verifier
            )
        except AuthlibBaseError as error:
            log.warning("the identity provider refused a login", error=str(error))
            raise NotAdmitted(
                f"{self.name} does not accept this login. Log in again; if that does not help, the API's log tells an "
                "administrator the reason."
            ) from error
        return tokens

    def _check(self, token: str, nonce: str) -> Mapping[str, Any]:
        """The claims of an ID token that the provider has signed for us and for this login. Raises NotAdmitted."""
        try:
            claims = self._decode(token)
            self._expect(claims.get("aud"), nonce).validate(claims)
        except (JoseError, ValueError) as error:
            log.warning("an ID token is not valid", error=str(error))
            raise NotAdmitted(
                f"{self.name} sent an ID token that is not valid ({error}). Log in again; if that does not help, an "
                "administrator has to look at the settings of both sides."
            ) from error
        return claims

    def _expect(self, audience: Any, nonce: str) -> jwt.JWTClaimsRegistry:
        is_shared = isinstance(audience, list) and len(audience) > 1
        return jwt.JWTClaimsRegistry(
            leeway=_LEEWAY_SECONDS,
            iss={"essential": True, "value": self._issuer},
            aud={"essential": True, "value": self._client_id},
            sub={"essential": True},
            exp={"essential": True},
            iat={"essential": True},
            nonce={"essential": True, "value": nonce},
            # Of a token for several clients: whom it was issued to.
            azp={"essential": is_shared, "value": self._client_id},
        )

    def _decode(self, token: str) -> dict[str, Any]:
        offered = self._metadata.read().get("id_token_signing_alg_values_supported", ["RS256"])
        algorithms = [one for one in _ALGORITHMS if one in offered]
        try:
            return jwt.decode(token, self._metadata.read_keys(), algorithms=algorithms).claims
        except InvalidKeyIdError:
            # The provider has made new ones.
            keys = self._metadata.read_keys(anew=True)
            return jwt.decode(token, keys, algorithms=algorithms).claims

    def _client(self, metadata: Mapping[str, Any]) -> OAuth2Client:
        # As the standard has it where the provider says nothing.
        offered = metadata.get("token_endpoint_auth_methods_supported", ["client_secret_basic"])
        is_basic = "client_secret_basic" in offered
        return OAuth2Client(
            self._client_id,
            self._secret,
            redirect_uri=f"{self._settings.public_url}{PATH}/callback",
            scope=self._settings.oidc_scopes,
            code_challenge_method="S256",
            token_endpoint_auth_method=_show_secret if is_basic else "client_secret_post",
            timeout=SECONDS,
        )

    @contextmanager
    def _place(self) -> Iterator[None]:
        if not self._places.acquire(blocking=False):
            raise ProviderAway(f"Many logins wait for {self.name}. Try again in a moment.")
        try:
            yield
        finally:
            self._places.release()

    def _sign(self, claims: Mapping[str, Any]) -> str:
        ends = int(time.time()) + 60 * MINUTES
        return jwt.encode({"alg": "HS256"}, {**claims, "exp": ends}, self._key)

    def _read(self, cookie: str | None) -> Mapping[str, Any] | None:
        """None if it isn't ours, or of long ago."""
        try:
            claims = jwt.decode(cookie or "", self._key, algorithms=["HS256"]).claims
            jwt.JWTClaimsRegistry(exp={"essential": True}).validate(claims)
        except (JoseError, ValueError):
            return None
        return claims


def _show_secret(
    client: Any, method: str, url: str, headers: MutableMapping[str, str], body: str
) -> tuple[str, MutableMapping[str, str], str]:
    """Name and secret each encoded, as RFC 6749 (2.3.1) has it: authlib's own way, which doesn't, shows another secret
    where this one has a `+` or a `%`."""
    said = f"{quote_plus(client.client_id)}:{quote_plus(client.client_secret)}"
    headers["Authorization"] = f"Basic {base64.b64encode(said.encode()).decode()}"
    return url, headers, body
