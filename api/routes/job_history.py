"""The record of a job: epochs, diagnostics, attempts, status changes, log lines, checkpoints and files."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Annotated, Any, TypeVar

from fastapi import APIRouter, Depends, Query
from fastapi.responses import FileResponse
from pydantic import BaseModel
from sqlalchemy.orm import Session

from api.http import BadParameter, Id, NotFound, Unavailable, get_current_user
from api.routes.jobs import find_job
from api.schemas import (
    AttemptView,
    CheckpointView,
    DiagnosisView,
    EpochView,
    FileView,
    Listing,
    LogLineView,
    TransitionView,
)
from api.services import Services, ServicesDep
from api.storage import STORE_RETRY_SECONDS
from runtime.files import DamagedFile
from runtime.storage import StorageError
from store.db import Checkpoint, Diagnosis, File, paging
from store.results import result_rows
from studies.report import LayerCurves, read_layer_curves
from studies.stats import with_drift

router = APIRouter(prefix="/jobs/{job_id}", tags=["jobs"], dependencies=[Depends(get_current_user)])


_View = TypeVar("_View", bound=BaseModel)

After = Annotated[int, Query(ge=0, le=2**63 - 1, description="only items after this one")]
Limit = Annotated[int, Query(ge=1, le=10_000, description="maximum number of items")]
Cursor = Annotated[str | None, Query(max_length=200)]
Statistic = Annotated[
    str | None,
    Query(max_length=100, description="default: gradient_norm, or the first recorded one"),
]
Layer = Annotated[str | None, Query(max_length=200, description="only this layer")]


@router.get("/epochs", summary="List a job's evaluation periods, in order")
def list_epochs(
    services: ServicesDep, job_id: Id, after: After = 0, limit: Limit = 1000, cursor: Cursor = None
) -> Listing[EpochView]:
    with services.sessions.begin() as session:
        find_job(session, job_id)
        rows = result_rows.epochs(session, job_id, _start_after(after, cursor), limit + 1)
    page = [EpochView.model_validate(row) for row in rows[:limit]]
    return Listing(
        items=page, next_cursor=_encode_cursor(page[-1].epoch if len(rows) > limit else None)
    )


@router.get("/diagnostics", summary="List a job's layer diagnostics, in order")
def list_diagnoses(
    services: ServicesDep,
    job_id: Id,
    layer: Layer = None,
    limit: Limit = 1000,
    cursor: Cursor = None,
) -> Listing[DiagnosisView]:
    with services.sessions.begin() as session:
        find_job(session, job_id)
        after = _start_after(0, cursor)
        rows = result_rows.diagnoses(session, job_id, layer=layer, after=after, limit=limit + 1)
        firsts = result_rows.first_diagnoses(session, job_id)
        page = [_view_diagnosis(row, firsts[row.layer]) for row in rows[:limit]]
        following = rows[limit - 1].id if len(rows) > limit else None
    return Listing(items=page, next_cursor=_encode_cursor(following))


@router.get("/diagnostics/curves", summary="Read one statistic of a job's layers as curves")
def read_diagnostic_curves(
    services: ServicesDep, job_id: Id, statistic: Statistic = None
) -> LayerCurves:
    """A curve for each layer that has the statistic; of many layers, an even choice. Empty where nothing was recorded."""
    with services.sessions.begin() as session:
        curves = read_layer_curves(session, find_job(session, job_id), statistic)
    if statistic is not None and curves.statistics and statistic not in curves.statistics:
        recorded = ", ".join(curves.statistics)
        raise BadParameter("statistic", f"must be one of {recorded}, but got {statistic!r}")
    return curves


def _view_diagnosis(row: Diagnosis, first: Diagnosis) -> DiagnosisView:
    view = DiagnosisView.model_validate(row)
    return view.model_copy(update={"statistics": with_drift(row.statistics, first.statistics)})


@router.get("/attempts", summary="List a job's attempts, in order")
def list_attempts(services: ServicesDep, job_id: Id) -> Listing[AttemptView]:
    return _list_records(services, job_id, result_rows.attempts, AttemptView)


@router.get("/transitions", summary="List a job's status changes: who, when and why")
def list_transitions(services: ServicesDep, job_id: Id) -> Listing[TransitionView]:
    return _list_records(services, job_id, result_rows.transitions, TransitionView)


@router.get("/logs", summary="List a job's log lines, in order")
def list_logs(
    services: ServicesDep, job_id: Id, after: After = 0, limit: Limit = 1000, cursor: Cursor = None
) -> Listing[LogLineView]:
    """To follow the log, repeat the request with `after` set to the id of the last line."""
    with services.sessions.begin() as session:
        find_job(session, job_id)
        rows = result_rows.logs(session, job_id, _start_after(after, cursor), limit + 1)
    page = [LogLineView.model_validate(row) for row in rows[:limit]]
    return Listing(
        items=page, next_cursor=_encode_cursor(page[-1].id if len(rows) > limit else None)
    )


@router.get("/checkpoints", summary="List a job's checkpoints, newest first")
def list_checkpoints(services: ServicesDep, job_id: Id) -> Listing[CheckpointView]:
    return _list_records(services, job_id, result_rows.checkpoints, CheckpointView)


@router.get("/files", summary="List a job's files, by name")
def list_files(services: ServicesDep, job_id: Id) -> Listing[FileView]:
    return _list_records(services, job_id, result_rows.files, FileView)


@router.get("/checkpoints/{checkpoint_id}", summary="Download a checkpoint")
def download_checkpoint(services: ServicesDep, job_id: Id, checkpoint_id: Id) -> FileResponse:
    with services.sessions.begin() as session:
        rows = result_rows.checkpoints(session, job_id)
    row = next((row for row in rows if row.id == checkpoint_id), None)
    if row is None:
        raise NotFound(f"job {job_id} has no checkpoint {checkpoint_id}")
    return _send_file(services, row, f"job-{job_id}-{Path(row.path).name}")


@router.get("/files/{name:path}", summary="Download a file")
def download_file(services: ServicesDep, job_id: Id, name: str) -> FileResponse:
    with services.sessions.begin() as session:
        rows = result_rows.files(session, job_id)
    row = next((row for row in rows if row.name == name), None)
    if row is None:
        raise NotFound(f"job {job_id} has no file {name!r}")
    return _send_file(services, row, Path(name).name)


def _list_records(
    services: Services,
    job_id: int,
    read: Callable[[Session, int], Sequence[Any]],
    view: type[_View],
) -> Listing[_View]:
    """All records of one kind; raises `NotFound`."""
    with services.sessions.begin() as session:
        find_job(session, job_id)
        return Listing(items=[view.model_validate(row) for row in read(session, job_id)])


def _start_after(after: int, cursor: str | None) -> int:
    return after if cursor is None else max(after, paging.decode_cursor(cursor))


def _encode_cursor(last: int | None) -> str | None:
    return None if last is None else paging.encode_cursor(last)


def _send_file(services: Services, row: Checkpoint | File, name: str) -> FileResponse:
    """A file under the storage root, and nothing else; raises `NotFound`, and `Unavailable` for an object store."""
    storage = services.settings.storage
    root = storage.root.resolve()
    # Paths in the database come from workers, and links can lead out of the storage: what counts is where the
    # path really ends.
    place = (root / row.path).resolve()
    if not place.is_relative_to(root):
        raise NotFound(f"{row.path} is not in the storage")
    try:
        storage.fetch(row.path, row.digest)
    except StorageError as error:
        raise Unavailable(str(error), STORE_RETRY_SECONDS) from error
    except (DamagedFile, FileNotFoundError) as error:
        raise NotFound(str(error)) from error
    if not place.is_file():
        raise NotFound(f"{row.path} is not in the storage")
    return FileResponse(
        place,
        filename=name,
        media_type="application/octet-stream",
        headers={"X-Content-Type-Options": "nosniff"},
    )
