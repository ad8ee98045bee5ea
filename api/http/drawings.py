"""How a request gets a rendered figure or report: from the storage, or rendered, or as a 202 with its location."""

from collections.abc import Callable, Sequence

from fastapi import APIRouter, Depends
from fastapi.responses import JSONResponse, Response
from sqlalchemy import select

from api.http.dependencies import get_current_user
from api.http.errors import NotFound
from api.processes import Pending
from api.services import Services, ServicesDep
from store.db import Job, Study
from store.mlflow import links
from studies.rendering import STUDY, CachedRender, fill_links, linked_jobs

router = APIRouter(prefix="/drawings", tags=["studies"], dependencies=[Depends(get_current_user)])

RETRY_AFTER_SECONDS = 2
#: What people wrote stands in them: should any of it ever pass as markup, it still can't do anything.
HARMLESS = {
    "Content-Security-Policy": "sandbox allow-popups; default-src 'none'; style-src 'unsafe-inline'; img-src data:",
    "X-Content-Type-Options": "nosniff",
}
MEDIA_TYPES = {
    ".html": "text/html",
    ".png": "image/png",
    ".svg": "image/svg+xml",
    ".pdf": "application/pdf",
}
#: A browser that shows PDF itself shows none that must not run anything.
_AS_FILE = {"Content-Disposition": "attachment"}


@router.get(
    "/{name}",
    summary="A drawing that took longer than its request",
    response_class=Response,
    responses={
        200: {"content": {media_type: {} for media_type in MEDIA_TYPES.values()}},
        202: {"description": "still being drawn: repeat the request after Retry-After"},
    },
)
def read_drawing(services: ServicesDep, name: str) -> Response:
    """Where the `Location` of a 202 leads. It is kept until the study has changed and is drawn again."""
    render = CachedRender.parse(name)
    if render is None or not _is_shown(services, render):
        raise NotFound(
            f"{name!r} isn't the name of a drawing: request the report or the figure itself"
        )
    if (content := render.read(services.settings.storage)) is not None:
        return _render_with_links(services, render, content)
    # The name alone does not say what to draw, so what is neither stored nor pending can only be asked for
    # where it comes from.
    pending = services.render_queue.find(render.name)
    if pending is None:
        raise NotFound("this drawing is not being made: request the report or the figure itself")
    drawn = _await(services, render, pending)
    if drawn is None:
        return pending_response(render, pending)
    return _render_with_links(services, render, drawn)


def _is_shown(services: Services, render: CachedRender) -> bool:
    """Whether the reader may read what it is drawn of."""
    table = Study if render.owner[0] == "s" else Job
    with services.readers() as session:
        found = session.scalar(select(table.id).where(table.id == int(render.owner[1:])))
    return found is not None


def request_render(
    services: Services, render: CachedRender, make: Callable[[], bytes]
) -> bytes | Pending:
    """From the storage; or made once, kept there, and awaited for as long as a request may take.

    Raises `RendererBusy` and `RenderingFailed`.
    """
    storage = services.settings.storage
    if (content := render.read(storage)) is not None:
        return content

    # Kept by the thread that draws, not by the request: whoever asked may have gone when it is done.
    def make_and_keep() -> bytes:
        made = make()
        render.keep(storage, made)
        return made

    pending = services.render_queue.start(render.name, make_and_keep)
    drawn = _await(services, render, pending)
    return pending if drawn is None else drawn


def render_response(render: CachedRender, content: bytes) -> Response:
    more = _AS_FILE if render.suffix == ".pdf" else {}
    return Response(content, media_type=MEDIA_TYPES[render.suffix], headers=HARMLESS | more)


def pending_response(render: CachedRender, pending: Pending) -> Response:
    detail = f"still being drawn after {pending.seconds:.0f} s: look again at the Location"
    return JSONResponse({"detail": detail}, 202, headers=pending_headers(render))


def pending_headers(render: CachedRender) -> dict[str, str]:
    """The headers of a 202."""
    return {
        "Location": f"/api/v1/drawings/{render.name}",
        "Retry-After": str(RETRY_AFTER_SECONDS),
    }


def _render_with_links(services: Services, render: CachedRender, content: bytes) -> Response:
    """A page is kept without its links to MLflow, which may come later than the page."""
    if render.suffix == ".html":
        content = fill_links(content, _read_links(services, render, linked_jobs(content)))
    return render_response(render, content)


def _read_links(services: Services, page: CachedRender, job_ids: Sequence[int]) -> dict[str, str]:
    base = services.settings.mlflow_url
    if base is None:
        return {}
    with services.sessions.begin() as session:
        study_id = int(page.owner[1:])
        study = links.study_urls(session, base, [study_id]).get(study_id, "")
        jobs = links.job_urls(session, base, job_ids)
    return {STUDY: study, **{str(job_id): url for job_id, url in jobs.items()}}


def _await(services: Services, render: CachedRender, pending: Pending) -> bytes | None:
    """None if it takes longer than a request may; a failure is reported once."""
    try:
        return pending.wait(services.settings.draw_wait_seconds)
    finally:
        if pending.is_done:
            services.render_queue.forget(render.name)
