"""How a drawing is asked for over HTTP: kept, joined or begun; and the 202 that says where it will be."""

from collections.abc import Callable

from fastapi import APIRouter, Depends
from fastapi.responses import JSONResponse, Response

from api.http.dependencies import get_current_user
from api.http.errors import NotFound
from api.processes import Drawing, Pending
from api.services import Services, ServicesDep

router = APIRouter(prefix="/drawings", tags=["studies"], dependencies=[Depends(get_current_user)])

RETRY_AFTER_SECONDS = 2
#: What people wrote stands in them: should any of it ever pass as markup, it still can't do anything.
HARMLESS = {
    "Content-Security-Policy": "sandbox allow-popups; default-src 'none'; style-src 'unsafe-inline'; img-src data:",
    "X-Content-Type-Options": "nosniff",
}
MEDIA_TYPES = {".html": "text/html", ".png": "image/png", ".svg": "image/svg+xml"}


@router.get(
    "/{name}",
    summary="A drawing that took longer than its request",
    response_class=Response,
    responses={
        200: {"content": {one: {} for one in MEDIA_TYPES.values()}},
        202: {"description": "still being drawn: Retry-After says when to look again"},
    },
)
def read_drawing(services: ServicesDep, name: str) -> Response:
    """Where the `Location` of a 202 leads. It is kept until the study has changed and is drawn anew."""
    drawing = Drawing.parse(name)
    if drawing is None:
        raise NotFound(
            f"{name!r} isn't the name of a drawing: request the report or the figure itself"
        )
    if (kept := drawing.read(services.settings.storage)) is not None:
        return show(drawing, kept)
    pending = services.drawer.find(drawing.name)
    if pending is None:
        raise NotFound("this drawing is not being made: request the report or the figure itself")
    content = _await(services, drawing, pending)
    return show(drawing, content) if content is not None else not_yet(drawing, pending)


def ask_for(
    services: Services, drawing: Drawing, content: Callable[[], bytes], *wanted: str
) -> bytes | Pending:
    """From the storage; or drawn once, kept there, and awaited for as long as a request may take.

    `content` and `wanted`: for `Drawer.draw`. Raises `DrawerBusy` and `DrawingFailed`.
    """
    storage = services.settings.storage
    if (kept := drawing.read(storage)) is not None:
        return kept

    def make() -> bytes:
        drawn = services.drawer.draw(content(), *wanted)
        drawing.keep(storage, drawn)
        return drawn

    pending = services.drawer.start(drawing.name, make)
    drawn = _await(services, drawing, pending)
    return pending if drawn is None else drawn


def show(drawing: Drawing, content: bytes) -> Response:
    return Response(content, media_type=MEDIA_TYPES[drawing.suffix], headers=HARMLESS)


def not_yet(drawing: Drawing, pending: Pending) -> Response:
    detail = f"still being drawn after {pending.seconds:.0f} s: look again at the Location"
    return JSONResponse({"detail": detail}, 202, headers=where(drawing))


def where(drawing: Drawing) -> dict[str, str]:
    """The headers of a 202."""
    return {
        "Location": f"/api/v1/drawings/{drawing.name}",
        "Retry-After": str(RETRY_AFTER_SECONDS),
    }


def _await(services: Services, drawing: Drawing, pending: Pending) -> bytes | None:
    """None if it takes longer than a request may; a failure is told once."""
    try:
        return pending.wait(services.settings.draw_wait_seconds)
    finally:
        if pending.is_done:
            services.drawer.forget(drawing.name)
