"""Presets: list, read, run; and the verdicts on a study's claims."""

from collections.abc import Sequence
from functools import cache, partial
from typing import Annotated

from fastapi import APIRouter, Depends, Query, Response, status
from sqlalchemy.orm import Session

from api.admission import plan_study
from api.bills import with_expected_seconds
from api.http import (
    BadParameter,
    Document,
    Fresh,
    Id,
    Invalid,
    NotFound,
    Once,
    Page,
    Writer,
    describe_body,
    get_current_user,
    parse,
    take_place,
)
from api.routes.studies import find_study
from api.routes.study_views import build_study_views
from api.schemas import (
    FileView,
    Listing,
    PresetDetail,
    PresetView,
    RunRequest,
    RunView,
    ShortVerdict,
    StudyView,
)
from api.services import Services, ServicesDep
from runtime.tracing import current_context
from store.catalog import datasets
from store.db import Study, Verdict
from store.studies import studies, verdicts
from studies.claims import ClaimVerdict, read_claims
from studies.presets import (
    NotOffered,
    Preset,
    PresetRun,
    Scale,
    UnknownPreset,
    find_preset,
    how_to_register,
    presets,
)

router = APIRouter(tags=["presets"], dependencies=[Depends(get_current_user)])


@router.get("/presets", summary="List the presets")
def list_presets() -> Listing[PresetView]:
    return Listing(items=[_describe(name) for name in presets()])


@cache
def _describe(name: str) -> PresetView:
    """Kept: to read all studies of the catalogue takes a third of a second."""
    return PresetView.of(presets()[name])


@router.get("/presets/{name}", summary="Read a preset")
def read_preset(
    name: str,
    scale: Annotated[Scale, Query(description="scale of the study shown")] = "small",
    dataset: Annotated[str | None, Query(description="default: the scale's first dataset")] = None,
) -> PresetDetail:
    preset = find_named(name)
    try:
        document = preset.document(scale, dataset)
    except NotOffered as error:
        raise BadParameter(error.field, str(error)) from error
    return PresetDetail.of(
        preset,
        scale,
        scale=scale,
        text=preset.text,
        caveats=list(preset.caveats),
        measured=preset.measured,
        dataset=PresetRun.of(preset, scale, dataset).dataset,
        study=document,
    )


@router.post(
    "/presets/{name}/runs",
    status_code=status.HTTP_202_ACCEPTED,
    response_model=StudyView,
    openapi_extra=describe_body(RunRequest),
    summary="Run a preset: submit its study",
    dependencies=[Depends(take_place)],
)
def run_preset(
    services: ServicesDep,
    user: Writer,
    name: str,
    document: Document,
    once: Once,
    fresh: Fresh = False,
) -> Response:
    """The run is an ordinary study; its report also has the preset's digest, text, caveats and verdicts on its claims."""
    preset = find_named(name)
    if earlier := once.earlier_answer():
        return earlier
    request = parse(RunRequest, document)
    try:
        submitted = preset.document(request.scale, request.dataset)
    except NotOffered as error:
        raise Invalid.at(f"/{error.field}", str(error)) from error
    _ensure_registered(services, submitted["base"]["dataset"]["name"])
    chosen = {"project": request.project, "seeds": request.seeds}
    submitted |= {field: value for field, value in chosen.items() if value is not None}
    study, plan = plan_study(services, user, submitted)
    # Seeds of one's own make it another study than the one whose claims were fixed beforehand, and the report
    # says so.
    planned = preset.study_spec(request.scale, request.dataset).seed_list
    run = PresetRun.of(preset, request.scale, request.dataset, study.seed_list != planned)
    spec = study.model_dump(mode="json")
    with services.sessions.begin() as session:
        new = with_expected_seconds(session, plan, plan.cells(fresh=fresh))
        create = partial(
            studies.create,
            session,
            user,
            spec,
            study.project,
            study.name,
            new,
            plan.warnings,
            trace_context=current_context.get(),
        )
        answer = once.answer(
            session,
            lambda: build_study_views(
                services,
                session,
                [create(run.model_dump(mode="json"), sorted(study.seed_list))],
            )[0],
        )
    services.waker.wake()
    return answer


@router.get("/presets/{name}/runs", summary="List a preset's runs, newest first")
def list_runs(services: ServicesDep, name: str, page: Page) -> Listing[RunView]:
    find_named(name)
    with services.sessions.begin() as session:
        listing = studies.list_studies(session, preset=name, cursor=page.cursor, limit=page.limit)
        items = build_run_views(services, session, listing.items)
        return Listing(items=items, next_cursor=listing.next_cursor)


@router.get(
    "/studies/{study_id}/verdicts",
    summary="List the verdicts on a study's claims",
    tags=["studies"],
)
def read_verdicts(services: ServicesDep, study_id: Id) -> Listing[ClaimVerdict]:
    """Computed from the current results; stored once all jobs have ended. Empty for a study without claims."""
    with services.sessions.begin() as session:
        return Listing(items=list(read_claims(session, find_study(session, study_id))))


@router.get("/studies/{study_id}/files", summary="List a study's files", tags=["studies"])
def list_files(services: ServicesDep, study_id: Id) -> Listing[FileView]:
    """Figure and report as of the end of its jobs; empty for a study without claims."""
    with services.sessions.begin() as session:
        find_study(session, study_id)
        rows = verdicts.files_of(session, study_id)
        return Listing(items=[FileView.model_validate(row) for row in rows])


def find_named(name: str) -> Preset:
    """Raises `NotFound`."""
    try:
        return find_preset(name)
    except UnknownPreset as error:
        raise NotFound(str(error)) from error


def _ensure_registered(services: Services, dataset: str) -> None:
    """The exact command where it isn't; raises `Invalid`."""
    command = how_to_register(dataset)
    if command is None:
        return
    with services.sessions.begin() as session:
        row = datasets.find(session, dataset)
    if row is None:
        detail = f"requires the dataset {dataset}, which is not registered"
        raise Invalid.at("/dataset", detail, command)


def build_run_views(services: Services, session: Session, found: Sequence[Study]) -> list[RunView]:
    """Of studies that ran presets."""
    of_study = verdicts.of_studies(session, [study.id for study in found])
    views = build_study_views(services, session, found)
    return [
        _build_run_view(study, view, of_study[study.id])
        for study, view in zip(found, views, strict=True)
    ]


def _build_run_view(study: Study, view: StudyView, found: list[Verdict]) -> RunView:
    assert study.preset is not None
    return RunView(
        study=view,
        scale=study.preset["scale"],
        dataset=study.preset["dataset"],
        digest=study.preset["digest"],
        own_seeds=study.preset.get("own_seeds", False),
        verdicts=[ShortVerdict.of(one) for one in found],
    )
