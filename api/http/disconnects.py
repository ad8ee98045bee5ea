"""Clients that disconnect early: one line in the log instead of an error."""

import structlog
from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Message, Receive, Scope, Send

log = structlog.get_logger(__name__)


class GoneClients:
    """ASGI middleware; not an exception handler, which would fail once the answer has begun."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return

        async def send_if_there(message: Message) -> None:
            try:
                await send(message)
            except OSError as error:
                # What a server of ASGI 2.4 raises; uvicorn drops the bytes and cancels the answer.
                raise ClientDisconnect from error

        try:
            await self._app(scope, receive, send_if_there)
        except ClientDisconnect:
            log.info("the client went away", method=scope["method"], path=scope["path"])
