"""Pages and their files, compressed."""

import re

from starlette.middleware.gzip import GZipMiddleware
from starlette.types import ASGIApp, Receive, Scope, Send

#: Downloads of any size, which are hardly smaller compressed; what programs read, mostly from nearby; and a stream of
#: which each event is sent at once.
_AS_THEY_ARE = ("/api/", "/events")
#: Of these, what pages load: schemas to complete a document by, and the points of curves.
_OF_PAGES = re.compile(r"/api/v1/(schemas/\w+|.*/curves)")
#: Beyond it text gets hardly smaller, at several times the work.
_LEVEL = 6


class CompressedPages:
    """ASGI middleware. A page holds the session's CSRF token beside words of its address, which would tell the token to
    whoever could make a browser send requests and see their sizes (BREACH): the session's cookie is sent from our own
    pages only (SameSite=Strict)."""

    def __init__(self, app: ASGIApp) -> None:
        self._as_it_is = app
        self._compressed = GZipMiddleware(app, compresslevel=_LEVEL)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        is_compressed = scope["type"] == "http" and _is_of_pages(scope["path"])
        await (self._compressed if is_compressed else self._as_it_is)(scope, receive, send)


def _is_of_pages(path: str) -> bool:
    return not path.startswith(_AS_THEY_ARE) or _OF_PAGES.fullmatch(path) is not None
