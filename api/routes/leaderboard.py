"""Leaderboards: which spec did best on validation. Test results are sealed: they rank nothing."""

from typing import Annotated

from fastapi import APIRouter, Depends, Query

from api.http import BadParameter, Filter, get_current_user, take_place
from api.schemas import Listing, View
from api.services import ServicesDep
from store.mlflow import links
from studies.results import Entry, ValidationMetric, rank

router = APIRouter(tags=["results"], dependencies=[Depends(get_current_user)])

_METRICS: dict[str, ValidationMetric] = {
    "best_val_accuracy": "best_val_accuracy",
    "best_val_loss": "best_val_loss",
}


class EntryView(Entry, View):
    """An entry, and the MLflow run of its best job."""

    mlflow_url: str | None


@router.get(
    "/leaderboard",
    summary="Rank specs by validation results, per dataset and task",
    dependencies=[Depends(take_place)],
)
def read_leaderboard(
    services: ServicesDep,
    project: Filter = None,
    dataset: Filter = None,
    metric: Annotated[
        str, Query(max_length=100, description="best_val_accuracy or best_val_loss")
    ] = "best_val_accuracy",
    limit: Annotated[
        int, Query(ge=1, le=500, description="maximum number of entries per board")
    ] = 20,
) -> Listing[EntryView]:
    """Only jobs trained on the same data for the same task are ranked together."""
    chosen = _validation_metric(metric)
    with services.sessions.begin() as session:
        entries = rank(session, chosen, limit, project=project, dataset=dataset)
        base = services.settings.mlflow_url
        jobs = [one.best_job for one in entries if one.best_job is not None]
        urls = links.job_urls(session, base, jobs) if base else {}
    items = [
        EntryView(**dict(one), mlflow_url=urls.get(one.best_job) if one.best_job else None)
        for one in entries
    ]
    return Listing(items=items)


def _validation_metric(metric: str) -> ValidationMetric:
    if metric in _METRICS:
        return _METRICS[metric]
    why = "" if not metric.startswith(("test", "final_test")) else " (the test set is sealed)"
    detail = (
        f"leaderboards rank by validation{why}: must be {' or '.join(_METRICS)}, but got {metric!r}"
    )
    raise BadParameter("metric", detail)
