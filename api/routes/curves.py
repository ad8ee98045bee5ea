"""Learning curves of a study or a job, as data or as an image."""

from collections.abc import Sequence
from typing import Annotated, Any, Literal, TypeAlias

from fastapi import APIRouter, Depends, Query
from fastapi.responses import Response

from api.http import (
    Id,
    get_current_user,
    pending_response,
    render_response,
    request_render,
    take_place,
)
from api.processes import Pending
from api.routes.jobs import find_job
from api.routes.studies import find_study
from api.services import Services, ServicesDep
from store.db import Epoch
from store.results import result_rows, series
from studies.rendering import CachedRender, draw_curves
from studies.report import (
    MOST_PERIODS,
    MOST_SEED_POINTS,
    MOST_SEEDS,
    CurveAxis,
    CurveMetric,
    Curves,
    job_curves,
    study_curves,
)

router = APIRouter(dependencies=[Depends(get_current_user)])

Format: TypeAlias = Literal["json", "png", "svg", "pdf"]
Wanted: TypeAlias = Annotated[Format, Query(description="data (json) or an image")]
Metric: TypeAlias = Annotated[
    CurveMetric | None, Query(description="default: val_accuracy, or val_loss if there is none")
]
X: TypeAlias = Annotated[
    CurveAxis, Query(description="x-axis: evaluation periods or optimizer steps")
]
Seeds: TypeAlias = Annotated[
    bool,
    Query(
        description=f"also every seed's own curve: of at most {MOST_SEEDS} jobs (`seeds_left_out` counts the others), with"
        f" at most {MOST_SEED_POINTS} points each"
    ),
]

_ANSWERS: dict[int | str, dict[str, Any]] = {
    200: {"content": {"image/png": {}, "image/svg+xml": {}, "application/pdf": {}}},
    202: {"description": "the image is still being rendered; `Location` is its URL"},
}
_COLUMNS = (
    "epoch",
    "step",
    "train_loss",
    "train_accuracy",
    "val_loss",
    "val_accuracy",
    "non_finite",
)


@router.get(
    "/studies/{study_id}/curves",
    summary="Read a study's learning curves: means over seeds",
    tags=["studies"],
    response_model=Curves,
    responses=_ANSWERS,
    dependencies=[Depends(take_place)],
)
def read_study_curves(
    services: ServicesDep,
    study_id: Id,
    metric: Metric = None,
    x: X = "epoch",
    seeds: Seeds = False,
    format: Wanted = "json",
) -> Curves | Response:
    """One curve per variant and matrix point. A seed that stopped early keeps its last value; excluded seeds
    (diverged, failed) are counted, and with `seeds` they have their own curve. Only training and validation data: the test set stays sealed."""
    with services.sessions.begin() as session:
        study = find_study(session, study_id)
        curves = study_curves(
            f"{study.name} (s{study_id})",
            result_rows.study_rows(session, study_id),
            series.curves(session, study_id, MOST_PERIODS),
            baseline=study.spec["baseline"],
            metric=metric,
            x=x,
            seeds=seeds,
        )
    return _respond(services, f"s{study_id}", curves, format)


@router.get(
    "/jobs/{job_id}/curves",
    summary="Read a job's learning curves on validation and training data",
    tags=["jobs"],
    response_model=Curves,
    responses=_ANSWERS,
    dependencies=[Depends(take_place)],
)
def read_job_curves(
    services: ServicesDep,
    job_id: Id,
    metric: Metric = None,
    x: X = "epoch",
    format: Wanted = "json",
) -> Curves | Response:
    """The complete record is at `/jobs/{job_id}/epochs`."""
    with services.sessions.begin() as session:
        job = find_job(session, job_id)
        periods = _list_periods(result_rows.epochs(session, job_id))
    curves = job_curves(f"{job.name} (j{job_id})", periods, metric, x)
    return _respond(services, f"j{job_id}", curves, format)


def _list_periods(rows: Sequence[Epoch]) -> list[dict[str, Any]]:
    return [{name: getattr(row, name) for name in _COLUMNS} for row in rows]


def _respond(services: Services, owner: str, curves: Curves, format: Format) -> Curves | Response:
    if format == "json":
        return curves
    with_seeds = any(one.seeds for one in curves.series)
    kind = f"curves-{curves.metric}-{curves.x}{'-seeds' if with_seeds else ''}"
    picture = CachedRender.of(owner, kind, f".{format}", curves.model_dump_json())
    drawn = request_render(
        services, picture, lambda: draw_curves(curves, format, services.render_queue.renderer)
    )
    if isinstance(drawn, Pending):
        return pending_response(picture, drawn)
    return render_response(picture, drawn)
