"""How long requests take until their answer begins, by route."""

import time
from http import HTTPMethod, HTTPStatus

from prometheus_client import CollectorRegistry, Histogram
from starlette.types import ASGIApp, Message, Receive, Scope, Send

#: Of requests that no route takes: their paths are anybody's words, and each would be a series of its own.
UNMATCHED = "unmatched"

_BUCKETS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0)
#: All that there are; of others a caller could make up any number.
METHODS = frozenset(HTTPMethod)


def make_histogram(registry: CollectorRegistry) -> Histogram:
    return Histogram(
        "normlab_http_request_duration_seconds",
        "Time from a request to the beginning of its answer.",
        ("method", "route", "status"),
        buckets=_BUCKETS,
        registry=registry,
    )


class RequestTimes:
    """ASGI middleware. An answer that goes on, such as a stream of events or a download, counts until it begins."""

    def __init__(self, app: ASGIApp, histogram: Histogram, prefix: str) -> None:
        self._app = app
        self._histogram = histogram
        self._prefix = prefix

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        started = time.perf_counter()
        has_begun = False

        def note(status: int) -> None:
            nonlocal has_begun
            has_begun = True
            method = scope["method"] if scope["method"] in METHODS else "other"
            labels = (method, find_route(scope, self._prefix), str(status))
            self._histogram.labels(*labels).observe(time.perf_counter() - started)

        async def send_and_note(message: Message) -> None:
            if message["type"] == "http.response.start":
                note(message["status"])
            await send(message)

        try:
            await self._app(scope, receive, send_and_note)
        except Exception:
            # It is answered outside of this middleware.
            if not has_begun:
                note(HTTPStatus.INTERNAL_SERVER_ERROR)
            raise


def find_route(scope: Scope, prefix: str) -> str:
    """The route's template; the router has put it into the scope by the time the answer begins."""
    template: str | None = getattr(scope.get("route"), "path", None)
    if template is None:
        # Of what is mounted, where: files of one folder are one route.
        mounted = scope["root_path"].removeprefix(scope.get("app_root_path", scope["root_path"]))
        return mounted or UNMATCHED
    # FastAPI's included routers say it without the prefix under which they were included.
    is_below = scope["path"].startswith(f"{prefix}/")
    return prefix + template if is_below else template
