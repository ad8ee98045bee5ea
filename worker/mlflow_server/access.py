"""The login before MLflow: nobody passes without a token, people read, and the mirror alone writes.

It stands before the whole application, because MLflow's own hook does not: routes that it serves without Flask,
and all that its permissions don't know, pass that one by.
"""

import hmac

import structlog
from sqlalchemy.exc import SQLAlchemyError
from starlette.datastructures import Headers
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.types import ASGIApp, Receive, Scope, Send

from worker.mlflow_server import erasing, hiding, routes
from worker.mlflow_server.callers import Callers, Credentials, read_credentials

log = structlog.get_logger("worker.mlflow_server")

_LOG_IN = (
    "MLflow asks for your Normlab login. In a browser, log in on Normlab's page and load this one again, or give your "
    "user name and, as the password, a token. For programs, set MLFLOW_TRACKING_TOKEN to a token (or "
    "MLFLOW_TRACKING_USERNAME to your name and MLFLOW_TRACKING_PASSWORD to a token); `normlab token create` makes one."
)
_REFUSED = "The token is unknown, expired or revoked. "
_READ_ONLY = (
    "{} may not {} {} here: MLflow shows what Normlab has recorded, and only its mirror writes it. Tag, annotate, archive "
    "or cancel with Normlab; results of your own belong in another MLflow."
)
_AWAY = "Normlab's database does not answer, so nobody can be logged in; try again in a moment."
#: How a browser is told to ask for a user name and a password.
_ASK = {"WWW-Authenticate": 'Basic realm="Normlab: user name and token", charset="UTF-8"'}


#: Is hidden from most people, and from the mirror.
_NOTHING = frozenset[str]()


class Access:
    """An ASGI application that lets through to another one what may pass."""

    def __init__(self, app: ASGIApp, callers: Callers, mirror_token: str) -> None:
        self._app = app
        self._hiding = hiding.Hiding(app)
        self._callers = callers
        self._mirror_token = mirror_token.encode()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        match scope["type"]:
            case "lifespan":
                await self._app(scope, receive, send)
            case "http":
                found = await self._admit(scope)
                if isinstance(found, Response):
                    await found(scope, receive, send)
                elif scope["path"] == routes.ERASE:
                    answer = await erasing.answer(scope, receive)
                    await answer(scope, receive, send)
                elif found:
                    await self._hiding.answer(scope, receive, send, found)
                else:
                    await self._app(scope, receive, send)
            case _:
                # Nothing that people read comes over a WebSocket.
                await send({"type": "websocket.close", "code": 1008})

    async def _admit(self, scope: Scope) -> Response | frozenset[str]:
        """The experiments that are hidden from the caller, or the refusal."""
        method, path, headers = scope["method"], scope["path"], Headers(scope=scope)
        if path == routes.HEALTH:
            return _NOTHING
        credentials = read_credentials(headers.get("Authorization"), headers.get("Cookie"))
        if credentials is None:
            return _answer(headers, 401, "UNAUTHENTICATED", _LOG_IN)
        hidden = _NOTHING
        if self._is_mirror(credentials):
            is_allowed, name = routes.is_mirrors(method, path), "the mirror"
        else:
            try:
                reader = await self._callers.find(credentials)
            except SQLAlchemyError as error:
                log.warning("no_login", error=str(error)[:300])
                return _answer(headers, 503, "TEMPORARILY_UNAVAILABLE", _AWAY)
            if reader is None:
                return _answer(headers, 401, "UNAUTHENTICATED", _REFUSED + _LOG_IN)
            name, hidden = reader.caller.user.name, reader.hidden
            if credentials.user_name not in (None, name):
                text = f"The token is not one of {credentials.user_name!r}. "
                return _answer(headers, 401, "UNAUTHENTICATED", text + _LOG_IN)
            is_allowed = routes.is_read(method, path)
        text = _READ_ONLY.format(name, method, path)
        return hidden if is_allowed else _answer(headers, 403, "PERMISSION_DENIED", text)

    def _is_mirror(self, credentials: Credentials) -> bool:
        given = credentials.secrets[0].encode()
        return credentials.kind == "token" and hmac.compare_digest(given, self._mirror_token)


def _answer(headers: Headers, status: int, code: str, text: str) -> Response:
    """As MLflow's client reads errors; a browser that opens a page gets the words alone."""
    more = {"Cache-Control": "no-store", **(_ASK if status == 401 else {})}
    if "text/html" in headers.get("Accept", ""):
        return PlainTextResponse(text, status, more)
    return JSONResponse({"error_code": code, "message": text}, status, more)
