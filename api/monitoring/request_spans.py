"""Requests as spans: what they submit continues their trace."""

from http import HTTPMethod, HTTPStatus

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from api.monitoring.request_times import METHODS, find_route
from runtime.tracing import Traces, current_context

#: Pages and waiting clients read all the time; `RequestTimes` counts those requests.
_ONLY_READ = (HTTPMethod.GET, HTTPMethod.HEAD, HTTPMethod.OPTIONS)


class RequestSpans:
    """ASGI middleware: a span for each request that may change something, and for those of a caller's trace."""

    def __init__(self, app: ASGIApp, traces: Traces, prefix: str) -> None:
        self._app = app
        self._traces = traces
        self._prefix = prefix

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        headers = Headers(scope=scope) if scope["type"] == "http" else Headers()
        is_traced = "traceparent" in headers or scope.get("method") not in _ONLY_READ
        if scope["type"] != "http" or not is_traced:
            await self._app(scope, receive, send)
            return
        method = scope["method"] if scope["method"] in METHODS else "other"
        span = self._traces.begin(method, headers)
        status = HTTPStatus.INTERNAL_SERVER_ERROR.value

        async def send_and_note(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        token = current_context.set(span.context)
        try:
            await self._app(scope, receive, send_and_note)
        finally:
            current_context.reset(token)
            route = find_route(scope, self._prefix)
            span.end(
                f"{method} {route}",
                {
                    "http.request.method": method,
                    "http.route": route,
                    "http.response.status_code": status,
                },
                error=str(status) if status >= HTTPStatus.INTERNAL_SERVER_ERROR else None,
            )
