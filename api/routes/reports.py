"""A study's report in three formats, its figures, and its document."""

from html import escape
from typing import Annotated, Any, Literal, TypeAlias

from fastapi import APIRouter, Depends, Header, Query
from fastapi.responses import Response
from sqlalchemy.orm import Session

from api.http import (
    HARMLESS,
    Id,
    NotFound,
    get_current_user,
    pending_headers,
    pending_response,
    render_response,
    request_render,
    take_place,
)
from api.processes import Pending
from api.routes.studies import find_study
from api.services import Services, ServicesDep
from store.db import Study
from store.studies import studies
from studies.rendering import (
    cached_figure,
    cached_page,
    draw_figure,
    draw_report,
    fill_links,
    report_links,
)
from studies.report import (
    PictureFormat,
    ReportInput,
    fetch_arrays,
    list_figures,
    read_report,
    spec_text,
    to_json,
    to_markdown_report,
)
from studies.spec import read_study

router = APIRouter(
    prefix="/studies/{study_id}", tags=["studies"], dependencies=[Depends(get_current_user)]
)

Format: TypeAlias = Literal["html", "json", "markdown"]

_TYPES: dict[Format, str] = {
    "html": "text/html", "json": "application/json", "markdown": "text/markdown",
}  # fmt: skip
_YAML = "application/yaml"
_SUFFIXES: dict[Format, str] = {"html": "html", "json": "json", "markdown": "md"}
_NOT_YET: dict[int | str, dict[str, Any]] = {
    202: {
        "description": "the figures are still being rendered; `Location` is the URL of the result"
    }
}


@router.get(
    "/document",
    summary="Read a study's document as YAML",
    response_class=Response,
    responses={200: {"content": {_YAML: {}}}},
)
def read_document(services: ServicesDep, study_id: Id) -> Response:
    """As it was submitted, with its comments; written anew where it was submitted as JSON, or with `set`, and of a preset
    or an older study. Seeds that were added later are not in it."""
    with services.sessions.begin() as session:
        text = write_document(session, find_study(session, study_id))
    headers = {"Content-Disposition": f'attachment; filename="s{study_id}.yaml"'}
    return Response(text, media_type=_YAML, headers=headers)


def write_document(session: Session, study: Study) -> str:
    """As it was submitted, where that is known."""
    written = studies.read_document(session, study.id)
    if written is not None:
        return written
    document = study.spec
    if document.get("until") is not None:
        # What it was given by itself was part of it when it was written.
        first = read_study(document).with_seeds(study.planned_seeds)
        document = first.model_dump(mode="json")
    return spec_text(document, tuple(studies.variants_of(session, study.id)))


@router.get(
    "/report",
    summary="Read a study's report",
    response_class=Response,
    responses={200: {"content": {one: {} for one in _TYPES.values()}}, **_NOT_YET},
    dependencies=[Depends(take_place)],
)
def read_one(
    services: ServicesDep,
    study_id: Id,
    format: Annotated[
        Format | None, Query(description="default: as the Accept header prefers, else json")
    ] = None,
    accept: Annotated[str, Header()] = "",
) -> Response:
    """The verdict and its reasons, tables, confounds, figures, the study document, digests and versions, and
    every job. HTML is one file with embedded figures; JSON is the data without figures.

    Figures that take long are not waited for: a 202 response is the page without figures, and `Location` is the
    URL of the complete page."""
    chosen = format or choose_format(accept)
    report = _read(services, study_id)
    status = 200
    headers: dict[str, str] = {}
    match chosen:
        case "json":
            content = to_json(report)
        case "markdown":
            content = to_markdown_report(report).encode()
        case "html":
            page = cached_page(report)
            storage, renderer = services.settings.storage, services.render_queue.renderer
            drawn = request_render(
                services, page, lambda: draw_report(report, storage, renderer).page
            )
            if isinstance(drawn, Pending):
                status, headers = 202, pending_headers(page)
                content = _render_placeholder(report, drawn.seconds, headers["Location"])
            else:
                content = fill_links(drawn, report_links(report))
    name = f"report-s{study_id}.{_SUFFIXES[chosen]}"
    return Response(
        content,
        status,
        media_type=_TYPES[chosen],
        headers={
            "Content-Disposition": f'inline; filename="{name}"',
            "Vary": "Accept",
            **HARMLESS,
            **headers,
        },
    )


@router.get(
    "/figures/{name}.{format}",
    summary="Read a figure of the report",
    response_class=Response,
    responses={
        200: {"content": {"image/png": {}, "image/svg+xml": {}, "application/pdf": {}}},
        **_NOT_YET,
    },
    dependencies=[Depends(take_place)],
)
def read_figure(services: ServicesDep, study_id: Id, name: str, format: PictureFormat) -> Response:
    """The JSON report lists the figures, and explains how to get those that are missing."""
    report = _read(services, study_id)
    figures = {figure.name: figure for figure in list_figures(report)}
    if name not in figures:
        raise NotFound(f"there is no figure {name!r}; available: {', '.join(figures)}")
    if reason := figures[name].missing_reason:
        raise NotFound(f"study {study_id} has no figure {name}: {reason}")
    figure = cached_figure(report, name, format)
    renderer = services.render_queue.renderer
    drawn = request_render(services, figure, lambda: draw_figure(report, name, renderer, format))
    if isinstance(drawn, Pending):
        return pending_response(figure, drawn)
    return render_response(figure, drawn)


def choose_format(accept: str) -> Format:
    """The format that an Accept header likes best; json where it doesn't matter."""
    wishes: list[tuple[float, Format]] = []
    for part in accept.split(","):
        kind, *parameters = (one.strip() for one in part.split(";"))
        quality = next((one[2:] for one in parameters if one.startswith("q=")), "1")
        for name, media_type in _TYPES.items():
            if kind == media_type:
                wishes.append((_parse_quality(quality), name))
    # `max` keeps the first of equals, so among equal qualities the order in the header decides. `*/*` names
    # no format and is ignored.
    best = max(wishes, key=lambda wish: wish[0], default=(0.0, "json"))
    return best[1] if best[0] > 0 else "json"


def _parse_quality(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return 0.0


def _read(services: Services, study_id: int) -> ReportInput:
    settings = services.settings
    fetch_arrays(services.sessions, study_id, settings.storage)
    with services.sessions.begin() as session:
        study = studies.find(session, study_id)
        if study is None:
            raise NotFound(f"there is no study {study_id}")
        return read_report(session, study, settings.storage.root, settings.mlflow_url)


def _render_placeholder(report: ReportInput, seconds: float, location: str) -> bytes:
    """What a browser shows while the page is drawn at `location`."""
    return (
        f"<!doctype html>\n<title>{escape(report.name)} · Normlab</title>\n"
        f"<p>The figures are still being drawn ({seconds:.0f} s so far); they will be at <a href='{location}'>{location}</a>.</p>\n"
        f'<pre style="white-space: pre-wrap">{escape(to_markdown_report(report))}</pre>\n'
    ).encode()
