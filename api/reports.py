"""A study's report in three formats, and its figures. Draws nothing itself, knows no SQL."""

from typing import Annotated, Literal, TypeAlias

from fastapi import APIRouter, Depends, Header, Query
from fastapi.responses import Response

from api.dependencies import Id, current_user
from api.drawings import Drawing
from api.errors import NotFound
from api.services import House, Services
from store import studies
from studies.exhibits import exhibits
from studies.report import ReportInput
from studies.report_input import read_report
from studies.report_json import to_json
from studies.report_markdown import to_markdown_report

router = APIRouter(
    prefix="/studies/{study_id}", tags=["studies"], dependencies=[Depends(current_user)]
)

Format: TypeAlias = Literal["html", "json", "markdown"]

_TYPES: dict[Format, str] = {
    "html": "text/html", "json": "application/json", "markdown": "text/markdown",
}  # fmt: skip
_SUFFIXES: dict[Format, str] = {"html": "html", "json": "json", "markdown": "md"}
#: What people wrote stands in it: should any of it ever pass as markup, it still can't do anything.
_HARMLESS = {
    "Content-Security-Policy": "sandbox allow-popups; default-src 'none'; style-src 'unsafe-inline'; img-src data:",
    "X-Content-Type-Options": "nosniff",
}


@router.get(
    "/report",
    summary="The answer as one document",
    response_class=Response,
    responses={200: {"content": {one: {} for one in _TYPES.values()}}},
)
def read_one(
    house: House,
    study_id: Id,
    format: Annotated[
        Format | None, Query(description="default: what Accept asks for, else json")
    ] = None,
    accept: Annotated[str, Header()] = "",
) -> Response:
    """The verdict and its reasons, tables, confounds, figures, the study document, digests and versions, and
    every job. HTML is one file with its pictures inside; JSON is the data without pictures."""
    chosen = format or preferred(accept)
    report = _read(house, study_id)
    match chosen:
        case "json":
            content = to_json(report)
        case "markdown":
            content = to_markdown_report(report).encode()
        case "html":
            content = _drawn(house, report, Drawing(study_id, "report", ".html", report.digest()))
    name = f"report-s{study_id}.{_SUFFIXES[chosen]}"
    return Response(
        content,
        media_type=_TYPES[chosen],
        headers={
            "Content-Disposition": f'inline; filename="{name}"',
            "Vary": "Accept",
            **_HARMLESS,
        },
    )


@router.get(
    "/figures/{name}.png",
    summary="A figure of the report",
    response_class=Response,
    responses={200: {"content": {"image/png": {}}}},
)
def read_figure(house: House, study_id: Id, name: str) -> Response:
    """The report in JSON names them, and says how to get those that are lacking."""
    report = _read(house, study_id)
    found = {one.name: one for one in exhibits(report)}
    if name not in found:
        raise NotFound(f"there is no figure {name!r}: there are {', '.join(found)}")
    if lacks := found[name].lacks:
        raise NotFound(f"study {study_id} has no figure {name}: {lacks}")
    content = _drawn(house, report, Drawing(study_id, f"figure-{name}", ".png", report.digest()))
    return Response(content, media_type="image/png", headers=_HARMLESS)


def preferred(accept: str) -> Format:
    """The format that an Accept header likes best; json where it doesn't matter."""
    wishes: list[tuple[float, Format]] = []
    for part in accept.split(","):
        kind, *parameters = (one.strip() for one in part.split(";"))
        quality = next((one[2:] for one in parameters if one.startswith("q=")), "1")
        for name, media_type in _TYPES.items():
            if kind == media_type:
                wishes.append((_number(quality), name))
    best = max(wishes, key=lambda wish: wish[0], default=(0.0, "json"))
    return best[1] if best[0] > 0 else "json"


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return 0.0


def _read(house: Services, study_id: int) -> ReportInput:
    with house.sessions.begin() as session:
        study = studies.find(session, study_id)
        if study is None:
            raise NotFound(f"there is no study {study_id}")
        return read_report(session, study, house.settings.storage, house.settings.mlflow_url)


def _drawn(house: Services, report: ReportInput, drawing: Drawing) -> bytes:
    """From the storage, or drawn now and kept there."""
    storage = house.settings.storage
    if (kept := drawing.read(storage)) is not None:
        return kept
    wanted = drawing.kind.split("-", 1) if drawing.kind != "report" else ["html"]
    with house.drawer.turn():
        # Somebody else may have wanted the same, and had the turn before.
        if (kept := drawing.read(storage)) is not None:
            return kept
        content = house.drawer.draw(report.model_dump_json().encode(), *wanted)
        drawing.keep(storage, content)
    return content
