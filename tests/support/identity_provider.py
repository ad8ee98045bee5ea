"""An identity provider over real HTTP that says of people what it is told, signs it as it is told, and fails when it is."""

import base64
import hashlib
import json
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qsl, unquote_plus, urlencode, urlsplit

from joserfc import jwt
from joserfc.jwk import OctKey, RSAKey

#: The secret has what has a meaning in a form, and in a login.
CLIENT, SECRET = "normlab", "a secret: of+the/client, at 100 %"
#: Making one takes a second.
KEY = RSAKey.generate_key(2048, {"kid": "first"})


@dataclass
class IdentityProvider:
    """`person`: the claims of who logs in; `beside`: more of them, told by the userinfo endpoint alone."""

    url: str = ""
    person: dict[str, Any] = field(default_factory=dict)
    beside: dict[str, Any] = field(default_factory=dict)
    #: Claims of the ID token in place of what they should be; None: it lacks them.
    wrong: dict[str, Any] = field(default_factory=dict)
    key: RSAKey | OctKey = field(default_factory=lambda: KEY)
    algorithm: str = "RS256"
    is_away: bool = False
    asked: list[str] = field(default_factory=list)
    _codes: dict[str, dict[str, str]] = field(default_factory=dict)

    def log_in(self, address: str) -> str:
        """Somebody logs in where a browser was sent to; where it is sent back to."""
        query = dict(parse_qsl(urlsplit(address).query))
        assert query["response_type"] == "code"
        assert query["client_id"] == CLIENT
        assert query["code_challenge_method"] == "S256"
        code = f"code {len(self._codes)}"
        self._codes[code] = query
        return f"{query['redirect_uri']}?{urlencode({'code': code, 'state': query['state']})}"

    def answer(self, path: str, headers: Any, body: str) -> tuple[int, Any]:
        self.asked.append(path)
        if self.is_away:
            return 503, {}
        match path:
            case "/.well-known/openid-configuration":
                return 200, self._describe()
            case "/keys":
                return 200, {"keys": [KEY.as_dict(private=False)]}
            case "/token":
                return self._redeem(headers["Authorization"], dict(parse_qsl(body)))
            case "/userinfo":
                assert headers["Authorization"] == "Bearer access"
                return 200, {**self.person, **self.beside}
            case _:
                return 404, {}

    def _describe(self) -> dict[str, Any]:
        return {
            "issuer": self.url,
            "authorization_endpoint": f"{self.url}/authorize",
            "token_endpoint": f"{self.url}/token",
            "userinfo_endpoint": f"{self.url}/userinfo",
            "jwks_uri": f"{self.url}/keys",
            "id_token_signing_alg_values_supported": ["RS256", "HS256", "none"],
        }

    def _redeem(self, authorization: str, form: dict[str, str]) -> tuple[int, Any]:
        begun = self._codes.pop(form["code"], None)
        digest = hashlib.sha256(form["code_verifier"].encode()).digest()
        challenge = base64.urlsafe_b64encode(digest).rstrip(b"=").decode()
        shown = base64.b64decode(authorization.removeprefix("Basic ")).decode().split(":")
        if (
            begun is None
            or begun["code_challenge"] != challenge
            or begun["redirect_uri"] != form["redirect_uri"]
            or [unquote_plus(part) for part in shown] != [CLIENT, SECRET]
        ):
            return 400, {"error": "invalid_grant"}
        token = self._sign(begun["nonce"])
        return 200, {"access_token": "access", "token_type": "Bearer", "id_token": token}

    def _sign(self, nonce: str) -> str:
        now = int(time.time())
        claims = {
            "iss": self.url, "aud": CLIENT, "iat": now, "exp": now + 300, "nonce": nonce,
            **self.person, **self.wrong,
        }  # fmt: skip
        header = {"alg": self.algorithm, "kid": "first"}
        said = {name: value for name, value in claims.items() if value is not None}
        if self.algorithm == "none":
            return f"{_encode(header)}.{_encode(said)}."
        return jwt.encode(header, said, self.key, algorithms=[self.algorithm])


def _encode(part: dict[str, Any]) -> str:
    return base64.urlsafe_b64encode(json.dumps(part).encode()).rstrip(b"=").decode()


@contextmanager
def providing() -> Iterator[IdentityProvider]:
    """On a port of 127.0.0.1."""
    provider = IdentityProvider()
    server = ThreadingHTTPServer(("127.0.0.1", 0), _handler(provider))
    provider.url = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield provider
    server.shutdown()
    thread.join()
    server.server_close()


def _handler(provider: IdentityProvider) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self._answer("")

        def do_POST(self) -> None:
            self._answer(self.rfile.read(int(self.headers["Content-Length"])).decode())

        def _answer(self, body: str) -> None:
            status, document = provider.answer(self.path, self.headers, body)
            content = json.dumps(document).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, *_: Any) -> None:
            pass

    return Handler
