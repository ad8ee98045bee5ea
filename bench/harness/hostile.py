"""Requests that no honest client sends, made from a seed, as bytes of HTTP/1.1."""

import json
import random
import socket
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from urllib.parse import quote, urlsplit

from bench.harness.hostile_values import (
    BODIES,
    CURSORS,
    ITEMS,
    JOB,
    LISTS,
    NUMBERS,
    ORDERS,
    PAGES,
    PARAMETERS,
    POSTS,
    QUERIES,
    STUDY,
    TEXTS,
    TYPES,
    WRONG,
)

#: Words of a traceback, a statement or a file of the machine.
_INSIDES = (
    b"Traceback",
    b"site-packages",
    b"sqlalchemy",
    b"psycopg",
    b"SELECT ",
    b'File "',
    b"root:x:",
)


@dataclass(frozen=True)
class Hostile:
    """One request. `is_wire`: refused before it is any route's."""

    name: str
    raw: bytes
    is_wire: bool = False


def hostile_requests(count: int, token: str, seed: int = 1) -> Iterator[Hostile]:
    """None of them may succeed in making anything."""
    random_ = random.Random(seed)  # noqa: S311 - the same requests each time
    for number in range(count):
        make = _KINDS[number % len(_KINDS)]
        yield make(random_, token)


def ask(url: str, hostile: Hostile) -> bytes:
    """All that is answered."""
    parts = urlsplit(url)
    with socket.create_connection((parts.hostname, parts.port), timeout=300) as connection:
        answer = b""
        # Who refuses a request need not read the rest of it.
        with suppress(ConnectionError):
            connection.sendall(hostile.raw)
        with suppress(ConnectionError):
            if hostile.is_wire:
                connection.shutdown(socket.SHUT_WR)
            while part := connection.recv(2**16):
                answer += part
    return answer


def is_failure(hostile: Hostile, answer: bytes) -> bool:
    """A fault of the service, or a word of its insides."""
    if any(word in answer for word in _INSIDES):
        return True
    if not answer:
        # What is hardly HTTP may be hung up on.
        return not hostile.is_wire
    status = answer.split(b" ", 2)[1]
    # 503: checks or drawings are busy.
    return status.startswith(b"5") and status != b"503"


def _send(
    method: str, path: str, token: str, body: bytes = b"", *headers: str, kind: str = ""
) -> bytes:
    lines = [
        f"{method} {path} HTTP/1.1",
        "Host: x",
        "Connection: close",
        f"Authorization: Bearer {token}",
        *headers,
    ]
    if kind:
        lines.append(f"Content-Type: {kind}")
    lines.append(f"Content-Length: {len(body)}")
    return "\r\n".join(lines).encode("utf-8", "surrogatepass") + b"\r\n\r\n" + body


def _value(random_: random.Random) -> str:
    text = random_.choice((*NUMBERS, *TEXTS))
    # As they are where a path can hold them, percent-encoded, or encoded twice.
    encoded = quote(text.encode("utf-8", "surrogatepass"), safe="")
    return random_.choice((encoded, encoded, quote(encoded, safe="")))


def _parameter(random_: random.Random, token: str) -> Hostile:
    name = random_.choice(PARAMETERS)
    choices = {"cursor": CURSORS, "query": QUERIES, "sort": QUERIES, "by": QUERIES}
    text = random_.choice((*choices.get(name, ()), *choices.get(name, ()), *NUMBERS, *TEXTS))
    given = quote(text.encode("utf-8", "surrogatepass"), safe="")
    route = random_.choice(
        (
            *LISTS,
            "results/groups",
            "results/comparison",
            "results/export",
            "jobs/1/epochs",
            "jobs/1/curves",
        )
    )
    return Hostile(f"{route}?{name}", _send("GET", f"/api/v1/{route}?{name}={given}", token))


def _path(random_: random.Random, token: str) -> Hostile:
    route, root = random_.choice(
        [*((one, "/api/v1/") for one in ITEMS), *((one, "/") for one in PAGES)]
    )
    path = root + route.replace("{}", "\x01").replace("\x01", _value(random_))
    return Hostile(route, _send("GET", path, token, b"", "Accept: text/html"))


def _body(random_: random.Random, token: str) -> Hostile:
    route, kind = random_.choice(POSTS), random_.choice(TYPES)
    body = random_.choice(BODIES)
    return Hostile(
        f"{route} {kind} {body[:20]!r}", _send("POST", f"/api/v1/{route}", token, body, kind=kind)
    )


def _document(random_: random.Random, token: str) -> Hostile:
    """A good document with one value that is none."""
    route = random_.choice(("jobs", "studies"))
    document = json.loads(json.dumps(JOB if route == "jobs" else STUDY))
    place = document
    while True:
        key = random_.choice(list(place))
        if isinstance(place[key], dict) and place[key] and random_.random() < 0.7:
            place = place[key]
            continue
        place[key] = random_.choice(WRONG)
        break
    # Wherever the value would have done, this key doesn't.
    document["no such key"] = 1
    return Hostile(
        f"{route} {key}",
        _send(
            "POST",
            f"/api/v1/{route}",
            token,
            json.dumps(document).encode(),
            kind="application/json",
        ),
    )


def _order(random_: random.Random, token: str) -> Hostile:
    method, _, route = random_.choice(ORDERS).partition(" ")
    path = f"/api/v1/{route.replace('{}', _value(random_))}"
    body = random_.choice(BODIES)
    return Hostile(f"{method} {route}", _send(method, path, token, body, kind="application/json"))


def _header(random_: random.Random, token: str) -> Hostile:
    text = random_.choice(
        ("x" * 20_000, "\u00e9" * 100, "=" * 500, "a=b; " * 500, '"' * 100, "0" * 4000, "bytes=-1")
    )
    name = random_.choice(
        (
            "Idempotency-Key",
            "Cookie",
            "Accept",
            "Last-Event-ID",
            "X-CSRF-Token",
            "Range",
            "If-None-Match",
            "X-Forwarded-For",
            "Accept-Encoding",
        )
    )
    route = random_.choice(
        (
            "/api/v1/jobs",
            "/",
            "/api/v1/results/export",
            "/static/app.css",
            "/api/v1/studies/1/report",
        )
    )
    return Hostile(f"{name}: {text[:10]}", _send("GET", route, token, b"", f"{name}: {text}"))


def _login(random_: random.Random, token: str) -> Hostile:
    wrong = (
        random_.choice(TEXTS)
        .encode("utf-8", "surrogatepass")
        .replace(b"\r", b"")
        .replace(b"\n", b"")
    )
    raw = (
        b"GET /api/v1/jobs HTTP/1.1\r\nHost: x\r\nConnection: close\r\nAuthorization: "
        + random_.choice((b"Bearer ", b"Basic ", b""))
        + wrong
        + b"\r\n\r\n"
    )
    return Hostile("a wrong token", raw, is_wire=b"\x00" in wrong)


def _wire(random_: random.Random, token: str) -> Hostile:
    """What is hardly HTTP."""
    head = f"Host: x\r\nAuthorization: Bearer {token}\r\n".encode()
    raw = random_.choice((
        b"GET / HTTP/9.9\r\n\r\n", b"\x16\x03\x01\x02\x00\x01", b"GET\r\n\r\n", b"\r\n" * 50 + b"?\r\n\r\n", b"GET /\x00 HTTP/1.1\r\n" + head + b"\r\n",
        b"GET /" + b"a" * 90_000 + b" HTTP/1.1\r\n" + head + b"\r\n", b"BREW /api/v1/jobs HTTP/1.1\r\n" + head + b"Connection: close\r\n\r\n",
        b"POST /api/v1/jobs HTTP/1.1\r\n" + head + b"Content-Length: -5\r\n\r\n", b"POST /api/v1/jobs HTTP/1.1\r\n" + head + b"Content-Length: 1\r\nContent-Length: 9\r\n\r\nx",
        b"POST /api/v1/jobs HTTP/1.1\r\n" + head + b"Transfer-Encoding: chunked\r\n\r\nzz\r\n", b"POST /api/v1/jobs HTTP/1.1\r\n" + head + b"Transfer-Encoding: chunked\r\nContent-Length: 3\r\n\r\nabc",
        b"GET http://elsewhere/api/v1/jobs HTTP/1.1\r\n" + head + b"Connection: close\r\n\r\n", b"GET //elsewhere HTTP/1.1\r\n" + head + b"Connection: close\r\n\r\n",
        b"OPTIONS * HTTP/1.1\r\n" + head + b"Connection: close\r\n\r\n", b"CONNECT x:1 HTTP/1.1\r\n" + head + b"Connection: close\r\n\r\n",
        b"GET /events HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade, close\r\n\r\n", b"GET /static/../../../../etc/passwd HTTP/1.1\r\n" + head + b"Connection: close\r\n\r\n",
        b"GET /static/..%2f..%2f..%2fetc%2fpasswd HTTP/1.1\r\n" + head + b"Connection: close\r\n\r\n", b"GET / HTTP/1.1\r\n" + b"X: y\r\n" * 20_000 + b"\r\n",
    ))  # fmt: skip
    return Hostile(repr(raw[:30]), raw, is_wire=True)


_KINDS: tuple[Callable[[random.Random, str], Hostile], ...] = (
    _parameter, _path, _body, _document, _order, _parameter, _header, _body, _login, _wire,
)  # fmt: skip
