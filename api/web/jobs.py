"""One job: how it goes or went, its curves and log, its spec beside the baseline's, and all that is on record of it."""

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import yaml
from fastapi import APIRouter, Request
from fastapi.responses import Response
from sqlalchemy.orm import Session

from api.http import Id, Reader, may_change
from api.routes.jobs import build_job_views, explain_wait, find_job
from api.schemas import JobView
from api.services import Services, ServicesDep
from api.web.render import PageRoute, render
from store.db import FINAL_STATUSES, PRIORITIES, Job, Study
from store.results import overview, result_rows, series
from store.studies import studies
from studies.spec import arm_name, list_differences
from studies.stats import amount

router = APIRouter(include_in_schema=False, route_class=PageRoute)

#: What one looks for first; the rest by name. The database keeps no order.
FIRST_METRICS = (
    "test_accuracy", "test_loss", "best_val_accuracy", "best_val_loss", "best_epoch", "epochs", "steps",
)  # fmt: skip
#: Lines at the end of the log.
MOST_LINES = 200


@dataclass(frozen=True, slots=True)
class BesideBaseline:
    """A job's spec beside that of its study's baseline at the same seed and point; no `job`: the study has none there."""

    variant: str
    job: Job | None
    differences: Sequence[tuple[str, str, str]]


@router.get("/jobs/{job_id}")
def show_job(request: Request, services: ServicesDep, user: Reader, job_id: Id) -> Response:
    with services.sessions.begin() as session:
        job = find_job(session, job_id)
        context = _read_job(services, session, job)
    view = context["job"]
    return render(
        request,
        "job.html",
        user,
        title=view.name,
        may_change=may_change(user, view.owner, job.project_id),
        is_final=view.status in FINAL_STATUSES,
        priorities=PRIORITIES,
        **context,
    )


def _read_job(services: Services, session: Session, job: Job) -> dict[str, Any]:
    [view] = build_job_views(services, session, [job])
    study = studies.find(session, job.study_id) if job.study_id is not None else None
    return {
        "job": view,
        "study": study,
        "outcome": _describe_outcome(view, study),
        "metrics": sorted(view.metrics.items(), key=_place_of),
        "trial": arm_name("", view.trial).removeprefix(" · ") if view.trial else None,
        "beside": _compare_specs(session, study, job) if study is not None else None,
        **{"obstacle": None, "waiting": None, **explain_wait(session, job)},
        "progress": overview.progress(session).get(job.id),
        "has_snapshots": series.has_snapshots(session, job.id),
        "attempts": result_rows.attempts(session, job.id),
        "transitions": result_rows.transitions(session, job.id),
        "checkpoints": result_rows.checkpoints(session, job.id),
        "files": result_rows.files(session, job.id),
        "lines": result_rows.last_logs(session, job.id, MOST_LINES),
        "spec": yaml.safe_dump(
            view.spec, sort_keys=False, allow_unicode=True, default_flow_style=None
        ),
    }


def _place_of(metric: tuple[str, float | None]) -> tuple[int, str]:
    name = metric[0]
    return FIRST_METRICS.index(name) if name in FIRST_METRICS else len(FIRST_METRICS), name


def _describe_outcome(job: JobView, study: Study | None) -> str | None:
    """What it came to, in the metric of its study."""
    usual = ("test_accuracy", "test_loss", "best_val_accuracy", "best_val_loss")
    names = (study.spec["metric"], *usual) if study is not None else usual
    values = {name: job.metrics.get(name) for name in names}
    metric, value = next((one for one in values.items() if one[1] is not None), ("", None))
    if job.status != "succeeded" or value is None:
        return None
    words = f"{amount(value, metric)} {metric.replace('_', ' ')}"
    kept, epochs = job.metrics.get("best_epoch"), job.metrics.get("epochs")
    if kept is None or epochs is None:
        return words
    return f"{words}, with the weights of epoch {kept:g} of {epochs:g}"


def _compare_specs(session: Session, study: Study, job: Job) -> BesideBaseline | None:
    """None for the baseline itself, and for a trial, which is compared with other trials."""
    variant = study.spec["baseline"]
    if job.variant == variant or job.trial is not None:
        return None
    other = studies.find_cell(session, study.id, variant, job.point, job.seed)
    differences = list_differences(other.spec, job.spec) if other is not None else ()
    rows = [(leaf.path, _write(leaf.left), _write(leaf.right)) for leaf in differences]
    return BesideBaseline(variant, other, rows)


def _write(value: Any) -> str:
    match value:
        case None:
            return "–"
        case str():
            return value
        case bool() | int() | float():
            return json.dumps(value)
        case _:
            # As one writes it; the database keeps no order of keys.
            return yaml.safe_dump(
                _tags_first(value),
                sort_keys=False,
                allow_unicode=True,
                default_flow_style=True,
                width=math.inf,
            ).strip()


def _tags_first(value: Any) -> Any:
    match value:
        case list():
            return [_tags_first(one) for one in value]
        case dict():
            order = sorted(value, key=lambda name: name not in ("kind", "name"))
            return {name: _tags_first(value[name]) for name in order}
        case _:
            return value
